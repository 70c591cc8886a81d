"""The card of an exported dataset: README.md with the header that the Hugging Face hub reads, and what a user of the
images has to know: where they come from, how good they are, what is missing, and how to make them again.

Nothing in it says when or on which machine it was written, nor in which folders things lay.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from darkroom.domain.records import FILTERED, STAYING
from darkroom.domain.settings import SETTINGS
from darkroom.evaluation.figures import ABOUT_INTERVALS, Figure
from darkroom.evaluation.tables import Table, arrow, interval, markdown_table, number, setting_text
from darkroom.exporting.about import Card, CardRun, citation, description, run_names
from darkroom.exporting.card_header import header
from darkroom.exporting.copies import EMBEDDING, ID, PIXELS
from darkroom.reporting.commands import run_command
from darkroom.reporting.summary import markdown
from darkroom.runs.commands import called_by_name
from darkroom.runs.policy_counts import PolicyCount
from darkroom.runs.videos import CODECS
from darkroom.storage.store import StoreSpec

_MOST_CELLS = 50  # rows of a table
_CELL = re.compile(r"#[0-9a-f]{16}\Z")  # after a run's address: one cell of it
_COPIES = {
    ID: "{} images are in an earlier run by the same id (`duplicates.parquet`)",
    PIXELS: "{} images have the same pixels as an earlier one (`duplicates.parquet`)",
    EMBEDDING: "{} images are near copies of earlier ones, with a cosine of {} or more (`duplicates.parquet`)",
}
# Of absolute paths that are whole values: in quotes, where they may hold spaces; without; and alone.
_FOLDERS = (
    re.compile(r"""((["'])(?:[\w.]+=)?)(?:file://|~)?/(?:(?:(?!\2).)*/)?(?=(?!\2).)"""),
    re.compile(r"""([=\[({,:])(?:file://|~)?/(?:[^/\s'"\\,\]})]+/)*(?=[^/\s'"\\,\]})])"""),
    re.compile(r"""(\A)(?:file://|~)?/(?:.*/)?(?=.)"""),
)
_ABOUT = {
    "text": "the prompt",
    "image_id": "a digest of the image's cell, prompt, sample and seed; the name of its file",
    "prompt_id": "equal for all images of a row of prompts",
    "sample_index": "which of a prompt's images it is, from 0",
    "row": "of the prompts, from 0",
    "cell_id": "which settings it was made with: the table below",
    "sha256": "of the image's file",
    "pixels_sha256": "of its pixels as rendered, (height, width, 3) uint8 RGB row by row",
    "stored_pixels_sha256": "of the pixels in its file, where a text or a watermark was put into them",
    "overlay": "JSON: the text that was drawn on it",
    "watermark": "whether its file holds the watermark: found, or not found",
    "model": "what made it",
    "model_revision": "a commit of the hub, or the digest of the weights' files",
    "seed": "of its noise",
    "truncated": "whether the prompt was longer than the text encoder reads",
    "policy_scores": "JSON: the scores that the run's policy asked for",
    "policy_reason": "why the policy might have refused the image that it kept",
}


_SIDECARS = {  # where signed manifests are, by layout
    "webdataset": "beside it in the tar, `<image_id>.c2pa`",
    "parquet": "in the column `c2pa`",
    "imagefolder": "beside it, `<image_id>.c2pa`",
}


def card(of: Card) -> bytes:
    """README.md."""
    parts = [
        header(of),
        [f"# {markdown(of.title)}", "", description(of)],
        ["## Images", "", *_splits(of), "", *_loading(of)],
        ["## Columns", "", *_columns(of)],
        ["## Model and settings", "", *_models(of), *_cells(of)],
        ["## How good the images are", "", *_figures(of)],
        *([["## Policy", "", *_policies(of)]] if any(run.info.policy for run in of.runs) else []),
        ["## What is left out", "", *(f"- {line}" for line in _left_out(of))],
        ["## Safety", "", *(f"- {line}" for line in _safety(of))],
        ["## Make it again", "", *_commands(of)],
        ["## Provenance", "", *_provenance(of)],
        ["## Citation", "", *_citation(of)],
    ]
    return ("\n\n".join("\n".join(part) for part in parts) + "\n").encode("utf-8", "replace")


# What it says --------------------------------------------------------------------------------------------------------


def _splits(of: Card) -> list[str]:
    rows = [
        [markdown(split), f"{count.num_images:,}", f"{of.num_shards[split]:,}"]
        for split, count in of.counts.splits.items()
    ]
    said = []
    if of.form.has_splits:
        said += ["", "A prompt's images are all in one split, which a digest of its text decides."]
    if of.encoding:
        size = f", made smaller to {of.encoding.size} pixels of their longer side" if of.encoding.size else ""
        quality = f" of quality {of.encoding.quality}" if of.encoding.quality else ""
        said += ["", f"Images were encoded anew as {of.encoding.image_format}{quality}{size}; `sha256`, `bytes`, "
                     "`pixels_sha256`, `height` and `width` are of what is here."]  # fmt: skip
    return [*markdown_table(Table(["split", "images", "shards"], rows)), *said]


def _loading(of: Card) -> list[str]:
    if of.form.layout == "webdataset":
        decoded = "" if of.form.image_format in CODECS else '.decode("pil")'
        code = ["import webdataset", "", f"images = webdataset.WebDataset({json.dumps(_tars(of))}){decoded}"]
    else:
        code = ["import datasets", "", f"images = datasets.load_dataset({json.dumps(of.title)})"]
    return [
        "```python",
        *code,
        "```",
        "",
        "`sha256sum --check SHA256SUMS` holds every file against its digest.",
    ]


def _tars(of: Card) -> str:
    """Of the first split, as `webdataset` expands it."""
    split = next(iter(of.counts.splits))
    return f"{of.title}/{split + '-' if of.form.has_splits else ''}{{000000..{of.num_shards[split] - 1:06d}}}.tar"


def _columns(of: Card) -> Iterator[str]:
    if of.form.layout == "webdataset":
        yield "The prompt is the `.txt` of each sample; the `.json` holds:\n"
    for name in of.form.schema.names:
        setting = SETTINGS.get(name)
        about = _ABOUT.get(name) or (setting.help.rstrip(".") if setting else "")
        yield f"- `{name}`" + (f": {markdown(about)}" if about else "")
    for field in of.form.sidecars:
        yield f"- `{field.name}`: the image's signed C2PA manifest, as tools read it from a `.c2pa` file beside it"


def _models(of: Card) -> Iterator[str]:
    for model in of.models:
        parts = f", with {model.parts_text}" if model.parts else ""
        yield "- " + markdown(f"{model.repo_id} {model.revision}, {model.pipeline_class}, {model.numbers}{parts}")
    for run in of.runs:
        if len(run.cells) == 1:
            [only] = run.cells.values()
            said = f"{run.name}: " if of.is_of_several else ""
            yield "- " + markdown(f"{said}{only.headline}, seed {run.info.seed}")


def _cells(of: Card) -> Iterator[str]:
    settings = [info.settings_in(run.info) for run in of.runs for info in run.cells.values()]
    names = [name for name in settings[0] if any(each[name] != settings[0][name] for each in settings)]
    if not names:
        return
    rows = [
        [
            *([markdown(run.name)] if of.is_of_several else []),
            cell_id,
            *(markdown(setting_text(info.settings_in(run.info)[name])) for name in names),
            f"{of.counts.cells.get((place, cell_id), 0):,}",
        ]
        for place, run in enumerate(of.runs)
        for cell_id, info in run.cells.items()
    ]
    first = ["run", "cell_id"] if of.is_of_several else ["cell_id"]
    headings = [*first, *(name.partition(".")[2] for name in names), "images"]
    yield ""
    yield from markdown_table(Table(headings, rows[:_MOST_CELLS], num_left=len(headings) - 1))
    yield from _more(rows)


def _more(rows: Sequence[object]) -> Iterator[str]:
    if len(rows) > _MOST_CELLS:
        yield f"\nAnd {len(rows) - _MOST_CELLS:,} more."


def _figures(of: Card) -> Iterator[str]:
    rows = [
        [
            *([markdown(run.name)] if of.is_of_several else []),
            cell_id,
            markdown(metric.title),
            *_figure(figure),
            f"{figure.num_images:,}",
        ]
        for run in of.runs
        for cell_id, found in run.figures.items()
        for name, metric in run.metrics.items()
        if (figure := found.get(name)) and math.isfinite(figure.value)
    ]
    if not rows:
        yield "Nothing was measured."
        return
    first = ["run", "cell_id"] if of.is_of_several else ["cell_id"]
    headings = [*first, "metric", "figure", "95 % interval", "images"]
    yield from markdown_table(Table(headings, rows[:_MOST_CELLS], num_left=len(first) + 1))
    yield from _more(rows)
    yield f"\n{ABOUT_INTERVALS} Figures are of all of a cell's images, as the run has them: also where some are left"
    yield "out here, or encoded anew."
    yield ""
    for metric in dict.fromkeys(metric for run in of.runs for metric in run.metrics.values()):
        against = f" against {without_folders(metric.reference)}" if metric.reference else ""
        better = f"{arrow(metric.higher_is_better)} is better"
        yield "- " + markdown(
            f"{metric.title} ({metric.name}, {better}){against}: {metric.convention}; features of {metric.extractor} "
            f"{metric.weights}, resized by {metric.resize}"
        )
    figures = (found for run in of.runs for found in run.figures.values())
    yield from (f"- {markdown(line)}" for line in _warnings(figures))


def _figure(figure: Figure) -> tuple[str, str]:
    return number(figure.value, 4), interval(figure.low, figure.high, 4)


def _warnings(figures: Iterable[Mapping[str, Figure]]) -> list[str]:
    found = (f"{name}: {line}" for each in figures for name, figure in each.items() for line in figure.warnings)
    return list(dict.fromkeys(found))


def _policies(of: Card) -> Iterator[str]:
    """Of all records of the cells that are exported, run by run."""
    for run in of.runs:
        policy, count = run.info.policy, of.counts.policies.get(run.name, PolicyCount())
        if policy is None:
            continue
        named = f" of {run.name}" if of.is_of_several else ""
        yield markdown(f"Which images{named} were kept was decided by their scores: {policy}.")
        yield f"\n- accepted: {count}"
        yield from (f"- {markdown(line)}" for line in islice(count.why(), _MOST_CELLS))
        for figure in policy.figures:
            scale = f", on the scale {figure.convention}" if figure.convention else ""
            yield f"- {markdown(figure.name)} is of the extractor `{figure.extractor_id}`{scale}"


def _left_out(of: Card) -> Iterator[str]:
    for status, count in of.counts.without_image.items():
        why = STAYING[status].format(f"{count:,}", "and are not here") if status in STAYING else ""
        yield why.partition(";")[0] or f"{count:,} images {status}: they could not be rendered"
    if of.counts.num_excluded:
        yield f"{of.counts.num_excluded:,} images do not hold the condition `{of.options.get('where')}`"
    for why, count in of.counts.copies.items():
        yield _COPIES[why].format(f"{count:,}", f"{of.cosine:g}")
    dropped = sum(run.dropped for run in of.runs)
    if others := sum(len(run.every) - len(run.cells) for run in of.runs) - dropped:
        yield f"{others:,} cells of the run were not chosen"
    if dropped:
        yield f"{dropped:,} cells were dropped early by the sweep, since others were better"
    if num_rows_left := sum(run.num_rows_left for run in of.runs):
        yield f"{num_rows_left:,} rows of prompts were not rendered yet when the images were exported"
    if not (of.counts.without_image or of.counts.num_excluded or of.counts.copies or others or dropped
            or num_rows_left):  # fmt: skip
        yield "Nothing: every prompt has its images in every cell."
    if of.counts.num_truncated:
        yield (
            f"{of.counts.num_truncated:,} images are here whose prompt was longer than the text encoder reads: they "
            "show its beginning (`truncated`)"
        )


def _safety(of: Card) -> Iterator[str]:
    """What was done, and what was not."""
    filtered = of.counts.without_image.get(FILTERED, 0)
    if filtered:
        yield f"{filtered:,} images were refused by a policy, of what renders them or of the run, and are not here"
    yield (
        "nothing else judged prompts or images by their content, unless a figure above or a column says so: look at "
        "them before they are shown to people, or a model learns from them"
    )
    if all(run.info.output.provenance for run in of.runs):
        yield "every image file says in XMP that a model made it, which one, and of which prompt"
    else:
        yield "not all image files say that a model made them"
    yield "whether images may be used for what you mean to do is said by the license of the model too"


def _commands(of: Card) -> list[str]:
    """That of each run and that of the export, with names in the place of folders."""
    places = _places([run.spec.uri for run in of.runs])
    made = [_made(run, place) for run, place in zip(of.runs, places, strict=True)]
    options = {"to": f"datasets/{of.title}", **of.options}
    if others := of.options.get("others"):
        assert isinstance(others, Sequence)
        cells = [_CELL.search(other) for other in others]
        named = zip(places[1:], cells, strict=True)
        options["others"] = [f"{place.uri}{cell[0] if cell else ''}" for place, cell in named]
    return [
        *(line for each in made for line in (*each, "")),
        "```sh",
        called_by_name("export", places[0], **options),
        "```",
        "",
        "Images are equal byte by byte where the software and the kind of device are the same.",
    ]


def _places(uris: Sequence[str]) -> list[StoreSpec]:
    """A folder for each address below runs/, called so that equal addresses have one and others have two."""
    once = list(dict.fromkeys(uris))
    names = dict(zip(once, run_names(once), strict=True))
    return [StoreSpec(f"runs/{names[uri].lstrip('/')}") for uri in uris]


def _made(run: CardRun, place: StoreSpec) -> list[str]:
    words = run_command(run.info, list(run.every.values()), place, run.batch_size, run.evaluations, run.choices)
    language = "python" if words.startswith("darkroom.") else "sh"
    return [f"```{language}", without_folders(words), "```"]


def without_folders(text: str) -> str:
    """The text with each absolute path as its last part."""
    for folders in _FOLDERS:
        text = folders.sub(r"\1", text)
    return text


def _provenance(of: Card) -> Iterator[str]:
    for run in of.runs:
        prompts, said = run.info.prompts, f" of {run.name}" if of.is_of_several else ""
        yield "- " + markdown(
            f"prompts{said}: {without_folders(prompts.name)}, {prompts.num_rows:,} rows, fingerprint "
            f"{prompts.fingerprint}"
        )
    for column, values in of.counts.provenance.items():
        named = sorted(values)
        said = ", ".join(f"{value} ({values[value]:,})" for value in named) if len(named) > 1 else "".join(named)
        if said:
            yield "- " + markdown(f"{column.replace('_', ' ')}: {said}")
    marks = {run.info.output.watermark for run in of.runs if not _is_anew(of, run)} - {""}
    if marks:
        letters = ", ".join(f"`{mark}`" for mark in sorted(marks))
        yield f"- images hold an invisible watermark, {letters}, where the column `watermark` says found"
    yield from _signatures(of)
    yield f"- digest of the exported images: `{of.counts.digest}`"


def _signatures(of: Card) -> Iterator[str]:
    """Of each run, where any is signed."""
    for run in of.runs if any(run.info.output.c2pa for run in of.runs) else ():
        said = f" of {markdown(run.name)}" if of.is_of_several else ""
        if not run.info.output.c2pa:
            yield f"- no image{said} has a signed manifest"
        elif _is_anew(of, run):
            yield (
                f"- every image{said} was signed as the run stored it, and is encoded anew here: the signed manifests "
                "are left out"
            )
        else:
            yield f"- every image{said} has a signed C2PA manifest {_SIDECARS[of.form.layout]}"


def _is_anew(of: Card, run: CardRun) -> bool:
    """Whether a run's images are encoded anew."""
    return of.encoding is not None and of.encoding.applies_to(run.info.output)


def _citation(of: Card) -> Iterator[str]:
    """Without an author and a date, which are not known."""
    yield "Name the models, as their cards ask for it, and this dataset by the digest of its images:"
    yield from ("", "```bibtex", citation(of), "```")
