"""What is said of an exported dataset, by its card and by its other descriptions."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.progress import readable_bytes
from darkroom.evaluation.figures import Figure, Metric
from darkroom.exporting.dataset import Counts
from darkroom.exporting.recoding import Encoding
from darkroom.exporting.shards import Format
from darkroom.reporting.summary import markdown
from darkroom.runs.cells import CellInfo, Choices
from darkroom.runs.run import RunInfo
from darkroom.storage.store import StoreSpec

_BIBTEX = re.compile(r"[&%$#_{}]")


def run_names(uris: Sequence[str]) -> list[str]:
    """What runs are called: the last part of each address, with as many before it as tell them apart; equal ones by
    their number."""
    parts = [uri.rstrip("/").split("/") for uri in uris]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(each[-depth:]) for each in parts]
        if len({*names}) == len(names):
            return names
    return [f"{parts[place][-1]} ({place + 1})" for place in range(len(uris))]


@dataclass(frozen=True)
class CardRun:
    """A run that the images are of."""

    name: str
    spec: StoreSpec
    info: RunInfo
    every: Mapping[str, CellInfo]  # all cells of the run
    cells: Mapping[str, CellInfo]  # those that are exported
    metrics: Mapping[str, Metric]
    figures: Mapping[str, Mapping[str, Figure]]  # by cell_id and Metric.name
    dropped: int = 0  # cells that a sweep dropped early
    num_rows_left: int = 0  # prompt rows of the exported cells that are not rendered yet
    batch_size: int | None = None  # of most of its images
    evaluations: Sequence[Mapping[str, object]] = ()  # options of those of the run
    choices: Choices = Choices()  # noqa: RUF009 - frozen


@dataclass(frozen=True)
class Card:
    """What the card is made of."""

    runs: Sequence[CardRun]
    to: StoreSpec
    counts: Counts
    form: Format
    num_shards: Mapping[str, int]  # by split
    license: str | None
    options: Mapping[str, object]  # of the command that exports
    cosine: float  # from which on images are near copies
    encoding: Encoding | None = None

    @property
    def title(self) -> str:
        return self.to.uri.rstrip("/").rpartition("/")[2]

    @property
    def models(self) -> list[ModelIdentity]:
        return list(dict.fromkeys(info.cell.model for run in self.runs for info in run.cells.values()))

    @property
    def is_of_several(self) -> bool:
        return len(self.runs) > 1


def description(of: Card) -> str:
    """In two sentences."""
    models = list(dict.fromkeys(model.repo_id for model in of.models))
    named = ", ".join(models[:3]) + (f" and {len(models) - 3} more" if len(models) > 3 else "")
    size = f", {readable_bytes(of.counts.num_bytes)}" if of.encoding is None else ""
    said = markdown(
        f"{of.counts.num_images:,} images that {named} made of prompts{size} as {of.form.image_format}. All of them "
        "are synthetic: no photograph is among them."
    )
    return said if of.license else f"{said} No license was named for this dataset."


def citation(of: Card) -> str:
    """BibTeX."""
    key = re.sub(r"[^A-Za-z0-9]+", "-", of.title).strip("-") or "dataset"
    title, made = (_BIBTEX.sub(r"\\\g<0>", text) for text in (of.title, ", ".join(m.repo_id for m in of.models[:3])))
    note = f"Made by {made} with Darkroom; SHA-256 of its list of images {of.counts.digest}"
    return f"@misc{{{key},\n  title = {{{title}: {of.counts.num_images} synthetic images}},\n  note = {{{note}}}\n}}"
