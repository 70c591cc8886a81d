"""People decide: files of their votes on blind pairs, stored with the run, and what all votes come to."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

from darkroom.api.evaluation_options import RatingOptions
from darkroom.api.events import Noted, Progress
from darkroom.api.rating_page import RatingPage, write_rating_page
from darkroom.api.run import Run, cell_address, check_writable, endpoints, open_run
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.evaluation.figures import Evaluation, Figures, Gap, Metric, put_evaluation, read_evaluations
from darkroom.evaluation.latest import latest_figures
from darkroom.evaluation.paired_comparisons import Agreement
from darkroom.evaluation.raters import (
    MetricAgreement,
    RaterInfo,
    TwoCells,
    image_scores,
    metric_agreement,
    present_files,
    rater_infos,
    raters_agreement,
    two_cells,
)
from darkroom.evaluation.rating_tables import ratings_table
from darkroom.evaluation.ratings import Judgement, RatedCells, judgements, rated_cells, rated_gaps
from darkroom.runs.commands import on_run
from darkroom.runs.ratings import (
    RatedCell,
    RatedImage,
    Study,
    Vote,
    VoteFile,
    check_once,
    parsed_votes,
    put_votes,
    read_study,
    stored_votes,
    study_ids,
)
from darkroom.runs.reading import present_images
from darkroom.storage.scanning import Kinds, locate, scan
from darkroom.storage.store import Store

_FILES = Kinds(frozenset([".jsonl"]), "files of votes")
_EVALUATION_ID = digest("evaluation", "raters")


@dataclass(frozen=True, eq=False)
class Ratings:
    """What all votes that a run holds came to."""

    run: Run
    others: Sequence[Run]  # whose images were shown beside, as far as they are given
    seed: int
    cells: Sequence[RatedCell]
    votes: Sequence[tuple[Study, Vote]]
    judgements: Sequence[Judgement]

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """How each figure is defined, by its name."""
        return self._rated.metrics

    @property
    def figures(self) -> dict[str, Figures]:
        """By cell_id: raters.win_rate and, of more than two cells, raters.bradley_terry."""
        return {cell_id: cell.figures for cell_id, cell in self._rated.cells.items()}

    def gaps(self, cell_ids: Iterable[str] | None = None) -> dict[str, dict[str, Gap]]:
        """From each metric's best of these cells, or of all; by cell_id and Metric.name."""
        return rated_gaps(self._rated, set(self.figures if cell_ids is None else cell_ids), self.seed)

    @cached_property
    def two_cells(self) -> list[TwoCells]:
        return two_cells(self.judgements, list(self.figures))

    @cached_property
    def raters(self) -> list[RaterInfo]:
        return rater_infos(self.votes)

    @cached_property
    def agreement(self) -> Agreement | None:
        """None where no pair has several raters' votes."""
        return raters_agreement(self.judgements)

    @cached_property
    def metric_agreement(self) -> list[MetricAgreement]:
        """Of the metrics that score single images, as they are stored."""
        scores: dict[str, dict[str, float]] = {}
        for run in (self.run, *self.others):
            metrics = latest_figures(read_evaluations(run.store), run.cells).metrics.values()
            for name, own in image_scores(run.store, *_shown(self.judgements, run), metrics).items():
                scores.setdefault(name, {}).update(own)
        each = (metric_agreement(name, self.judgements, of) for name, of in scores.items())
        return [found for found in each if found]

    @property
    def table(self) -> str:
        """All of it as plain text."""
        settings = {cell.cell_id: cell.settings for cell in self.cells}
        others = (self.two_cells, self.raters, self.agreement, self.metric_agreement)
        return ratings_table(self.metrics, self.figures, settings, self.gaps(), *others)

    @cached_property
    def _rated(self) -> RatedCells:
        return rated_cells(self.judgements, [cell.cell_id for cell in self.cells])


def rate(
    given: str | Run,
    options: RatingOptions,
    votes: Sequence[str] | None,
    out: str | None,
    endpoint_url: str | None,
    votes_endpoint_url: str | None,
    progress: Progress,
) -> RatingPage | Ratings:
    """Write the page, or read votes back where there are some, as an empty list too."""
    if votes is None:
        if votes_endpoint_url is not None:
            raise DarkroomError("votes_endpoint_url: is for files of votes, and votes names none; leave it out")
        return write_rating_page(given, options, out, endpoint_url, progress)
    if out is not None:
        raise DarkroomError(f"output.uri={out}: is for the page, and votes are read back; leave one of them out")
    return read_ratings(given, votes, options, endpoint_url, votes_endpoint_url, progress)


def read_ratings(
    given: str | Run,
    votes: Sequence[str],
    options: RatingOptions,
    endpoint_url: str | None,
    votes_endpoint_url: str | None,
    progress: Progress,
) -> Ratings:
    """Check files of votes and store them with the run; then count all that it holds, and store the figures.

    A vote that comes again, as in a rater's later download, counts once. Raises DarkroomError, before anything is
    stored, for votes on other pairs, for another vote of one rater on one pair, and where the run holds no vote.
    """
    options.check_of_votes()
    for_run, *for_others = endpoints(endpoint_url, given, *options.others)
    run = open_run(given, for_run)
    others = [open_run(cell_address(uri)[0], of, "others") for uri, of in zip(options.others, for_others, strict=True)]
    check_writable(run)
    files = list(_files(votes, votes_endpoint_url))
    studies = _studies(run.store, files)
    check_once([*(each for study_id in studies for each in stored_votes(run.store, study_id)), *files])
    for file in files:
        put_votes(run.store, file.study_id, file.votes)
    found = ratings_of(run, options.seed, progress, others)
    if found is None:
        raise DarkroomError(
            f"{run.uri}: it holds no vote that counts; write a page of pairs with `{on_run('rate', run.store.spec)}`, "
            "and give the files that raters send back in votes=[...]"
        )
    own = [cell_id for cell_id in found.figures if cell_id in run.cells]
    figures = {cell_id: found.figures[cell_id] for cell_id in own}
    now = datetime.now(UTC).isoformat(timespec="microseconds")
    images = present_images(run.store)
    put_evaluation(run.store, _EVALUATION_ID, Evaluation(now, found.metrics, figures, found.gaps(own), images=images))
    return found


def ratings_of(run: Run, seed: int, progress: Progress, others: Sequence[Run] = ()) -> Ratings | None:
    """All votes that a run holds, but for those on images that were made again since; None where there are none.

    `others`: runs whose images were shown beside, for what metrics say of them.
    """
    studies = {study_id: study for study_id in study_ids(run.store) if (study := read_study(run.store, study_id))}
    files = [file for study_id in studies for file in stored_votes(run.store, study_id)]
    once = dict.fromkeys((file.study_id, vote) for file in files for vote in file.votes)
    votes = [(studies[study_id], vote) for study_id, vote in once]
    found = [each for study, vote in votes for each in judgements(study, [vote])]
    if not found:
        return None
    whole = _whole(found, run)
    if len(whole) < len(found):
        progress(Noted(f"{len(found) - len(whole):,} votes are on images that are no longer there, and do not count"))
    cells = {cell.cell_id: cell for file in files for cell in studies[file.study_id].cells}
    return Ratings(run, others, seed, list(cells.values()), votes, whole) if whole else None


def _files(votes: Sequence[str], endpoint_url: str | None) -> Iterator[VoteFile]:
    for uri in votes:
        found = scan(locate(uri, endpoint_url, "votes", "votes_endpoint_url"), _FILES)
        if not found.files:
            raise DarkroomError(f"votes: {uri}: no file of votes is there; give the .jsonl files that raters sent back")
        for file in found.files:
            yield from parsed_votes(file.read(), file.name)


def _studies(store: Store, files: Sequence[VoteFile]) -> dict[str, Study]:
    """Raises DarkroomError for votes on pairs that are no study of this run's."""
    found: dict[str, Study] = {}
    for file in files:
        study = found.get(file.study_id) or read_study(store, file.study_id)
        if study is None:
            raise DarkroomError(
                f"{file.place}: its votes are on the pairs of study {file.study_id}, which the run "
                f"{store.describe()} does not have; give the run that the page was written from"
            )
        beyond = [vote.pair for vote in file.votes if not 0 <= vote.pair < len(study.pairs)]
        if beyond:
            raise DarkroomError(
                f"{file.place}: a vote on pair {beyond[0]}, and study {file.study_id} has {len(study.pairs)}; give the "
                "file as the page downloaded it"
            )
        found[file.study_id] = study
    return found


def _shown(found: Iterable[Judgement], run: Run) -> tuple[set[str], set[str]]:
    """(cell_ids of this run, image_ids) of what people saw."""
    images = [image for each in found for image in (each.pair.left, each.pair.right)]
    return {image.cell_id for image in images} & run.cells.keys(), {image.image_id for image in images}


def _whole(found: Sequence[Judgement], run: Run) -> list[Judgement]:
    """Those on images that are there as they were shown; another run's are taken to be."""
    files = present_files(run.store, *_shown(found, run))

    def is_whole(image: RatedImage) -> bool:
        return image.cell_id not in run.cells or files.get(image.image_id) == image.sha256

    return [each for each in found if is_whole(each.pair.left) and is_whole(each.pair.right)]
