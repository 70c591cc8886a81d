"""What a report leaves out and how it chose what it shows, in sentences."""

from collections import Counter
from collections.abc import Iterator, Sequence

from darkroom.evaluation.figures import ABOUT_GAPS, ABOUT_INTERVALS
from darkroom.evaluation.latest import RunFigures
from darkroom.reporting.content import Picture
from darkroom.reporting.facts import num_rows_left
from darkroom.reporting.survey import MOST_FAILURES, MOST_SCORES, Survey
from darkroom.runs.commands import called_by_name
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec

_FAULTS_NAMED = 5


def notes(
    info: RunInfo,
    store: StoreSpec,
    found: Survey,
    figures: RunFigures,
    shown: Sequence[Picture],
    equal: Sequence[str] = (),
    num_seeds: int = 1,
) -> Iterator[str]:
    """`equal`: what is said of cells whose images are the same; `num_seeds`: that cells have."""
    yield from _unfinished(info, found)
    if num_seeds > 1:
        yield "Differences: images of cells with different seeds share their prompt and not their noise."
    if info.policy and len(found.counts) > 1:
        yield "Differences: the policy chose samples in each cell, so that paired images may share their prompt alone."
    yield from (f"Equal: {line}." for line in equal)
    yield from _pictures(info, store, found, shown)
    yield from _scores(found, figures)
    yield from _intervals(figures)
    yield from (f"Row {name}, which ranks nothing: {control.note}." for name, control in figures.controls.items())
    yield from figures.notes
    yield from _missing_figures(found, figures)
    num_failed = sum(count.num_failed for count in found.counts.values())
    if num_failed > MOST_FAILURES:
        yield f"Failures: the first {MOST_FAILURES} of {num_failed:,} are listed."


def _unfinished(info: RunInfo, found: Survey) -> Iterator[str]:
    left = [count for count in found.counts.values() if count.num_rows < info.prompts.num_rows]
    if left:
        yield (
            f"Not finished: {len(left)} of {len(found.counts)} cells have prompt rows left, "
            f"{num_rows_left(info, left):,} in all. What is here is what is committed."
        )


def _pictures(info: RunInfo, store: StoreSpec, found: Survey, shown: Sequence[Picture]) -> Iterator[str]:
    num_prompts = len({picture.prompt_id for picture in shown if picture.in_sheet})
    if not found.prompts.is_all:
        yield (
            f"Pictures: {num_prompts} of {info.prompts.num_rows:,} prompts, the same in every cell: those whose ids "
            "have the lowest digests, so chance chose them, and chooses the same ones each time."
        )
    if found.prompts.num_samples < info.num_images_per_prompt:
        yield f"Pictures: the first {found.prompts.num_samples} of each prompt's {info.num_images_per_prompt:,} images."
    faults = [picture.fault for picture in shown if picture.thumbnail is None]
    if faults:
        named = "; ".join(faults[:_FAULTS_NAMED]) + (" and others" if len(faults) > _FAULTS_NAMED else "")
        yield (
            f"Pictures: {len(faults):,} stored images are missing or not what was committed: {named}. "
            f"`{called_by_name('verify', store, stored=True)}` names all, and "
            f"`{called_by_name('repair', store)}` brings them back."
        )


def _scores(found: Survey, figures: RunFigures) -> Iterator[str]:
    image_scores = figures.image_scores
    if not found.scores or image_scores is None:
        return
    yield f"Scores: an image's own score is {image_scores.words}."
    cut = [sample for sample in found.scores.values() if sample.num_seen > MOST_SCORES]
    if cut:
        yield (
            f"Scores: {MOST_SCORES:,} of a cell's {max(sample.num_seen for sample in cut):,} images, those with the "
            "lowest ids, which are digests; means by prompt column are of all images."
        )
    yield "Picks: of all cells together, at most one image of each prompt; the median is that of the scores shown."


def _intervals(figures: RunFigures) -> Iterator[str]:
    found = [figures.figures(cell_id).values() for cell_id in figures.cells]
    if any(figure.low is not None for of_cell in found for figure in of_cell):
        yield ABOUT_INTERVALS + (f" {ABOUT_GAPS}" if any(figures.gaps(cell_id) for cell_id in figures.cells) else "")


def _missing_figures(found: Survey, figures: RunFigures) -> Iterator[str]:
    outdated = Counter(name for cell_id in figures.cells for name in figures.outdated(cell_id))
    if outdated:
        counts = {name: outdated[name] for name in figures.metrics if name in outdated}
        named = ", ".join(f"{figures.metrics[name].title} of {count} cells" for name, count in counts.items())
        yield f"Figures: older than the images that are there now, and marked so: {named}; evaluate again."
    if found.num_stale:
        yield (
            f"Scores: {found.num_stale:,} images have no score of the file that is there now, and are not among the "
            "scores of single images; evaluate again."
        )
    without = sum(not figures.cells[cell_id] for cell_id in found.counts)
    if figures.metrics and without:
        yield f"Figures: {without} of {len(found.counts)} cells are not evaluated yet."
