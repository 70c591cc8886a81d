"""The card of an exported dataset: README.md with the header that the Hugging Face hub reads, and what a user of the
images has to know: where they come from, how good they are, what is missing, and how to make them again.

Nothing in it says when or on which machine it was written, nor in which folders things lay.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from darkroom.domain.progress import readable_bytes
from darkroom.domain.records import STAYING
from darkroom.domain.settings import SETTINGS
from darkroom.evaluation.figures import ABOUT_INTERVALS, Figure, Metric
from darkroom.evaluation.tables import Table, arrow, interval, markdown_table, number, setting_text
from darkroom.exporting.selection import Counts
from darkroom.exporting.shards import Format
from darkroom.reporting.commands import run_command
from darkroom.reporting.summary import markdown
from darkroom.runs.cells import CellInfo, Choices, axes
from darkroom.runs.commands import called_by_name
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec

_MOST_CELLS = 50  # rows of a table
_SIZES = (1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000)
_NAMES = ("1K", "10K", "100K", "1M", "10M", "100M", "1B")
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
    "pixels_sha256": "of its pixels, (height, width, 3) uint8 RGB row by row",
    "model": "what made it",
    "model_revision": "a commit of the hub, or the digest of the weights' files",
    "seed": "of its noise",
    "truncated": "whether the prompt was longer than the text encoder reads",
}


_SIDECARS = {  # where signed manifests are, by layout
    "webdataset": "beside it in the tar, `<image_id>.c2pa`",
    "parquet": "in the column `c2pa`",
    "imagefolder": "beside it, `<image_id>.c2pa`",
}


@dataclass(frozen=True)
class Card:
    """What the card is made of."""

    run: StoreSpec
    to: StoreSpec
    info: RunInfo
    every: Mapping[str, CellInfo]  # all cells of the run
    cells: Mapping[str, CellInfo]  # those that are exported
    counts: Counts
    form: Format
    num_shards: Mapping[str, int]  # by split
    license: str | None
    metrics: Mapping[str, Metric]
    figures: Mapping[str, Mapping[str, Figure]]  # by cell_id and Metric.name
    options: Mapping[str, object]  # of the command that exports
    dropped: int = 0  # cells that a sweep dropped early
    num_rows_left: int = 0  # prompt rows of the exported cells that are not rendered yet
    evaluations: Sequence[Mapping[str, object]] = ()  # options of those of the run
    choices: Choices = Choices()  # noqa: RUF009 - frozen

    @property
    def title(self) -> str:
        return self.to.uri.rstrip("/").rpartition("/")[2]


def card(of: Card) -> bytes:
    """README.md."""
    parts = [
        _header(of),
        [f"# {markdown(of.title)}", "", *_opening(of)],
        ["## Images", "", *_splits(of), "", *_loading(of)],
        ["## Columns", "", *_columns(of)],
        ["## Model and settings", "", *_models(of), *_cells(of)],
        ["## How good the images are", "", *_figures(of)],
        ["## What is left out", "", *(f"- {line}" for line in _left_out(of))],
        ["## Make it again", "", *_commands(of)],
        ["## Provenance", "", *_provenance(of)],
    ]
    return ("\n\n".join("\n".join(part) for part in parts) + "\n").encode("utf-8", "replace")


# The header ----------------------------------------------------------------------------------------------------------


def _header(of: Card) -> list[str]:
    """https://github.com/huggingface/hub-docs/blob/main/datasetcard.md"""
    license = [f"license: {json.dumps(of.license)}"] if of.license else []
    splits = {split: _pattern(of, split) for split in of.counts.splits}
    files = [f"  - split: {json.dumps(name)}\n    path: {json.dumps(pattern)}" for name, pattern in splits.items()]
    return [
        "---",
        *license,
        "task_categories:",
        "- text-to-image",
        "tags:",
        "- synthetic",
        "size_categories:",
        f"- {size_category(of.counts.num_images)}",
        "configs:",
        "- config_name: default",
        "  data_files:",
        *files,
        "---",
    ]


def _pattern(of: Card, split: str) -> str:
    if of.form.layout == "webdataset":
        return f"{split}-*.tar" if of.form.has_splits else "*.tar"
    return f"data/{split}-*.parquet" if of.form.layout == "parquet" else f"{split}/**"


def size_category(count: int) -> str:
    """As the hub names it, such as 1K<n<10K."""
    place = sum(count >= size for size in _SIZES)
    if place == 0:
        return "n<1K"
    return f"{_NAMES[place - 1]}<n<{_NAMES[place]}" if place < len(_NAMES) else "n>1B"


# What it says --------------------------------------------------------------------------------------------------------


def _opening(of: Card) -> Iterator[str]:
    models = list(dict.fromkeys(info.cell.model.repo_id for info in of.cells.values()))
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    yield markdown(
        f"{of.counts.num_images:,} images that {named} made of prompts, {readable_bytes(of.counts.num_bytes)} as "
        f"{of.info.output.image_format}. All of them are synthetic: no photograph is among them."
    )
    if not of.license:
        yield "\nNo license was named for this dataset."


def _splits(of: Card) -> list[str]:
    rows = [
        [markdown(split), f"{count.num_images:,}", readable_bytes(count.num_bytes), f"{of.num_shards[split]:,}"]
        for split, count in of.counts.splits.items()
    ]
    said = (
        ["", "A prompt's images are all in one split, which a digest of its text decides."]
        if of.form.has_splits
        else []
    )
    return [*markdown_table(Table(["split", "images", "bytes of images", "shards"], rows)), *said]


def _loading(of: Card) -> list[str]:
    if of.form.layout == "webdataset":
        code = ["import webdataset", "", f'images = webdataset.WebDataset({json.dumps(_tars(of))}).decode("pil")']
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
    for name in of.form.names:
        setting = SETTINGS.get(name)
        about = _ABOUT.get(name) or (setting.help.rstrip(".") if setting else "")
        yield f"- `{name}`" + (f": {markdown(about)}" if about else "")


def _models(of: Card) -> Iterator[str]:
    for model in dict.fromkeys(info.cell.model for info in of.cells.values()):
        parts = f", with {model.parts_text}" if model.parts else ""
        yield "- " + markdown(f"{model.repo_id} {model.revision}, {model.pipeline_class}, {model.numbers}{parts}")
    if len(of.cells) == 1:
        [only] = of.cells.values()
        yield "- " + markdown(f"{only.headline}, seed {of.info.seed}")


def _cells(of: Card) -> Iterator[str]:
    names = list(axes(of.cells.values(), of.info))
    if not names:
        return
    rows = [
        [
            cell_id,
            *(markdown(setting_text(info.settings_in(of.info)[name])) for name in names),
            f"{of.counts.cells.get(cell_id, 0):,}",
        ]
        for cell_id, info in of.cells.items()
    ]
    headings = ["cell_id", *(name.partition(".")[2] for name in names), "images"]
    yield ""
    yield from markdown_table(Table(headings, rows[:_MOST_CELLS], num_left=len(headings) - 1))
    yield from _more(rows)


def _more(rows: Sequence[object]) -> Iterator[str]:
    if len(rows) > _MOST_CELLS:
        yield f"\nAnd {len(rows) - _MOST_CELLS:,} more."


def _figures(of: Card) -> Iterator[str]:
    rows = [
        [cell_id, markdown(metric.title), *_figure(figure), f"{figure.num_images:,}"]
        for cell_id, found in of.figures.items()
        for name, metric in of.metrics.items()
        if (figure := found.get(name)) and math.isfinite(figure.value)
    ]
    if not rows:
        yield "Nothing was measured."
        return
    headings = ["cell_id", "metric", "figure", "95 % interval", "images"]
    yield from markdown_table(Table(headings, rows[:_MOST_CELLS], num_left=2))
    yield from _more(rows)
    yield f"\n{ABOUT_INTERVALS} Figures are of all of a cell's images, also where some are left out here."
    yield ""
    for metric in of.metrics.values():
        against = f" against {without_folders(metric.reference)}" if metric.reference else ""
        better = f"{arrow(metric.higher_is_better)} is better"
        yield "- " + markdown(
            f"{metric.title} ({metric.name}, {better}){against}: {metric.convention}; features of {metric.extractor} "
            f"{metric.weights}, resized by {metric.resize}"
        )
    yield from (f"- {markdown(line)}" for line in _warnings(of.figures.values()))


def _figure(figure: Figure) -> tuple[str, str]:
    return number(figure.value, 4), interval(figure.low, figure.high, 4)


def _warnings(figures: Iterable[Mapping[str, Figure]]) -> list[str]:
    found = (f"{name}: {line}" for each in figures for name, figure in each.items() for line in figure.warnings)
    return list(dict.fromkeys(found))


def _left_out(of: Card) -> Iterator[str]:
    for status, count in of.counts.without_image.items():
        why = STAYING[status].format(f"{count:,}", "and are not here") if status in STAYING else ""
        yield why.partition(";")[0] or f"{count:,} images {status}: they could not be rendered"
    if of.counts.num_excluded:
        yield f"{of.counts.num_excluded:,} images do not hold the condition `{of.options.get('where')}`"
    if others := len(of.every) - len(of.cells) - of.dropped:
        yield f"{others:,} cells of the run were not chosen"
    if of.dropped:
        yield f"{of.dropped:,} cells were dropped early by the sweep, since others were better"
    if of.num_rows_left:
        yield f"{of.num_rows_left:,} rows of prompts were not rendered yet when the images were exported"
    if not (of.counts.without_image or of.counts.num_excluded or len(of.every) > len(of.cells) or of.num_rows_left):
        yield "Nothing: every prompt has its images in every cell."
    if of.counts.num_truncated:
        yield (
            f"{of.counts.num_truncated:,} images are here whose prompt was longer than the text encoder reads: they "
            "show its beginning (`truncated`)"
        )


def _commands(of: Card) -> list[str]:
    """That of the run and that of the export, with names in the place of folders."""
    name = of.run.uri.rstrip("/").rpartition("/")[2]
    run = StoreSpec(f"runs/{name}")
    batch_sizes = of.counts.provenance["batch_size"]
    size = int(max(batch_sizes, key=lambda each: batch_sizes[each])) if batch_sizes else None
    made = run_command(of.info, list(of.every.values()), run, size, of.evaluations, of.choices)
    language = "python" if made.startswith("darkroom.") else "sh"
    options = {"to": f"datasets/{of.title}", **of.options}
    return [
        f"```{language}",
        without_folders(made),
        "```",
        "",
        "```sh",
        called_by_name("export", run, **options),
        "```",
        "",
        "Images are equal byte by byte where the software and the kind of device are the same.",
    ]


def without_folders(text: str) -> str:
    """The text with each absolute path as its last part."""
    for folders in _FOLDERS:
        text = folders.sub(r"\1", text)
    return text


def _provenance(of: Card) -> Iterator[str]:
    prompts = of.info.prompts
    yield "- " + markdown(
        f"prompts: {without_folders(prompts.name)}, {prompts.num_rows:,} rows, fingerprint {prompts.fingerprint}"
    )
    for column, values in of.counts.provenance.items():
        named = sorted(values)
        said = ", ".join(f"{value} ({values[value]:,})" for value in named) if len(named) > 1 else "".join(named)
        if said:
            yield "- " + markdown(f"{column.replace('_', ' ')}: {said}")
    if of.info.output.provenance:
        yield "- every image file says in XMP that a model made it, which one, and of which prompt"
    if of.info.output.watermark:
        mark = of.info.output.watermark
        yield f"- images hold an invisible watermark, `{mark}`, where the column `watermark` says found"
    if of.info.output.c2pa:
        yield f"- every image has a signed C2PA manifest {_SIDECARS[of.form.layout]}"
    yield f"- digest of the exported images: `{of.counts.digest}`"
