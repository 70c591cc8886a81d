"""What one pass over a run's images keeps of them, in memory that does not grow with the run.

A few images (of chosen prompts, with extreme scores, a subsample), by ids and scores alone whatever their order; and
mean scores by the values of a prompt file's columns.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.types as pt

from darkroom.domain.identity import Shard, digest
from darkroom.evaluation.tables import setting_text
from darkroom.reporting.content import GroupScore

LEAST_VALUES, MOST_VALUES = 2, 30  # of a column that groups images
_LONGEST = 60  # characters of a group's name; longer text is no group's name
NO_VALUE = "(none)"


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image: its identity, its score, and where its record lies."""

    image_id: str
    prompt_id: str
    sample_index: int  # or, where a policy chose among samples, its place among its prompt's images
    shard: Shard
    index: int  # row of the shard's manifest
    score: float | None = None


@dataclass
class PromptChoice:
    """The prompts whose ids have the lowest digests, with their images in every cell: chance, the same each time."""

    num_prompts: int
    num_samples: int  # images of a prompt and cell, at most
    purpose: tuple[object, ...] = ("report",)  # another one chooses others
    is_all: bool = True  # whether no prompt was left out
    _ranks: list[tuple[str, str]] = field(default_factory=list)  # (digest, prompt_id), lowest first
    _images: dict[str, list[ImageRef]] = field(default_factory=lambda: defaultdict(list))

    def add(self, image: ImageRef) -> None:
        if image.sample_index >= self.num_samples or not self._is_chosen(image.prompt_id):
            return
        self._images[image.prompt_id].append(image)

    def images(self) -> Iterator[ImageRef]:
        return (image for found in self._images.values() for image in found)

    def _is_chosen(self, prompt_id: str) -> bool:
        if prompt_id in self._images:
            return True
        rank = (digest(*self.purpose, prompt_id, length=16), prompt_id)
        if len(self._ranks) == self.num_prompts:
            self.is_all = False
            if rank > self._ranks[-1]:
                return False
            self._images.pop(self._ranks.pop()[1])
        insort(self._ranks, rank)
        return True


@dataclass
class Extremes:
    """The images with the highest scores, or the lowest, at most one of each prompt."""

    count: int
    sign: int  # 1: the highest, -1: the lowest
    _best: dict[str, ImageRef] = field(default_factory=dict)  # by prompt_id
    _last: tuple[float, str] = (float("inf"), "")  # place of the last one

    def add(self, image: ImageRef) -> None:
        if len(self._best) == self.count and self._place(image) >= self._last:
            return
        known = self._best.get(image.prompt_id)
        if known is None or self._place(image) < self._place(known):
            self._best[image.prompt_id] = image
        best = self.images()[: self.count]
        self._best = {image.prompt_id: image for image in best}
        self._last = self._place(best[-1])

    def images(self) -> list[ImageRef]:
        """The most extreme first; equal ones by their ids."""
        return sorted(self._best.values(), key=self._place)

    def _place(self, image: ImageRef) -> tuple[float, str]:
        assert image.score is not None
        return -self.sign * image.score, image.image_id


@dataclass
class Subsample:
    """At most `count` images: those with the lowest ids, which are digests."""

    count: int
    num_seen: int = 0
    images: list[ImageRef] = field(default_factory=list)  # in order of their ids

    def add(self, image: ImageRef) -> None:
        self.num_seen += 1
        if len(self.images) == self.count:
            if image.image_id > self.images[-1].image_id:
                return
            self.images.pop()
        insort(self.images, image, key=lambda other: other.image_id)

    @property
    def scores(self) -> list[float]:
        return [image.score for image in self.images if image.score is not None]


def middle(images: list[ImageRef], count: int) -> list[ImageRef]:
    """Those nearest to the images' median score, at most one of each prompt; the highest first."""
    scores = sorted(image.score for image in images if image.score is not None)
    if not scores:
        return []
    median = scores[len(scores) // 2]
    nearest = sorted(images, key=lambda image: (abs((image.score or 0.0) - median), image.image_id))
    found: dict[str, ImageRef] = {}
    for image in nearest:
        found.setdefault(image.prompt_id, image)
        if len(found) == count:
            break
    return sorted(found.values(), key=lambda image: (-(image.score or 0.0), image.image_id))


@dataclass
class _Group:
    total: float = 0.0
    count: int = 0


@dataclass
class Breakdown:
    """Sums of scores: column -> its value -> cell_id."""

    _columns: dict[str, dict[str, dict[str, _Group]]] = field(default_factory=dict)
    _dropped: set[str] = field(default_factory=set)  # columns that turned out to group nothing

    def add(self, cell_id: str, columns: pa.Table, rows: Sequence[int], scores: Sequence[float]) -> None:
        """Images of one cell: `rows` of the table, with their scores."""
        for name, column in zip(columns.column_names, columns.columns, strict=True):
            if name not in self._dropped:
                self._add_column(name, column, cell_id, rows, scores)

    def result(self) -> dict[str, Mapping[str, Mapping[str, GroupScore]]]:
        """Mean scores, of the columns that have few values and more than one."""
        found = {name: values for name, values in self._columns.items() if len(values) >= LEAST_VALUES}
        return {
            name: {
                value: {cell_id: GroupScore(group.total / group.count, group.count) for cell_id, group in groups}
                for value, groups in ((value, by_cell.items()) for value, by_cell in values.items())
            }
            for name, values in found.items()
        }

    def _add_column(
        self, name: str, column: pa.ChunkedArray, cell_id: str, rows: Sequence[int], scores: Sequence[float]
    ) -> None:
        texts = None if _is_nested(column.type) else column.to_pylist()
        known = self._columns.setdefault(name, {})
        for row, score in zip(rows, scores, strict=True):
            value = _text(texts[row]) if texts is not None else None
            if value is None or (value not in known and len(known) == MOST_VALUES):
                self._drop(name)
                return
            group = known.setdefault(value, {}).setdefault(cell_id, _Group())
            group.total += score
            group.count += 1

    def _drop(self, name: str) -> None:
        del self._columns[name]
        self._dropped.add(name)


def _is_nested(kind: pa.DataType) -> bool:
    return bool(pt.is_nested(kind) or pt.is_binary(kind) or pt.is_large_binary(kind))


def _text(value: object) -> str | None:
    """A group's name; None for text that is too long to be one."""
    if value is None or value == "":
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = setting_text(value) if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else None
