"""The images that runs hand over together: counted, told from copies, and cut into numbered shards, in order of runs,
cells and rows."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.errors import DarkroomError
from darkroom.exporting.copies import Copies
from darkroom.exporting.selection import LeftOut, Selection
from darkroom.prompts.extras import extra_columns, unify
from darkroom.runs.policy_counts import POLICY_COLUMNS, PolicyCount

RUN = "\0run"  # the column of `ShardRows.table` with the place of the record's run
WHOLE: Mapping[str, float] = {"train": 1.0}  # all in the split that readers take where there is one
_PROVENANCE = ("darkroom_version", "torch_version", "diffusers_version", "device", "dtype", "batch_size")
_COUNTED = (*POLICY_COLUMNS, "prompt", "bytes", "cell_id", "truncated", *_PROVENANCE)


def split_of(prompt: str, splits: Mapping[str, float]) -> str:
    """The split of all images of a prompt, whatever other prompts there are: a number in [0, 1) of the SHA-256 of its
    text, among the shares in order of their names."""
    place = int.from_bytes(hashlib.sha256(prompt.encode("utf-8", "replace")).digest()[:8], "big") / 2**64
    names = sorted(splits)
    ends = accumulate(splits[name] for name in names)
    return next((name for name, end in zip(names, ends, strict=True) if place < end), names[-1])


@dataclass(frozen=True)
class SplitCount:
    num_images: int
    num_bytes: int  # of their files


@dataclass(frozen=True)
class Counts:
    """What is chosen and what is not."""

    splits: Mapping[str, SplitCount]  # by name
    cells: Mapping[tuple[int, str], int]  # images by place of the run and cell_id
    without_image: Mapping[str, int]  # records by their status
    num_excluded: int  # by the condition
    num_truncated: int  # of the chosen: their prompt was longer than the text encoder reads
    copies: Mapping[str, int]  # images that are left out, by why they are copies of others
    provenance: Mapping[str, Mapping[str, int]]  # column that says how images were made -> value -> images
    batch_sizes: Mapping[int, int]  # by place of the run: of most of its images
    digest: str  # of the images and their splits, in order
    policies: Mapping[str, PolicyCount] = field(default_factory=dict)  # of all records of the cells, by the run's name

    @property
    def num_images(self) -> int:
        return sum(count.num_images for count in self.splits.values())

    @property
    def num_bytes(self) -> int:
        return sum(count.num_bytes for count in self.splits.values())


@dataclass(frozen=True, eq=False)
class ShardRows:
    """The records of one numbered shard of a split, their scores, and RUN."""

    split: str
    number: int  # from 0
    num_shards: int  # of the split
    table: pa.Table


@dataclass(frozen=True, eq=False)
class Dataset:
    """The chosen images of one run or several, without those that are copies."""

    runs: Sequence[Selection]
    splits: Mapping[str, float] = field(default_factory=lambda: WHOLE)
    copies: Copies = field(default_factory=Copies)

    def without(self, copies: Copies) -> "Dataset":
        return replace(self, copies=copies)

    @cached_property
    def own(self) -> pa.Schema:
        """Columns of the prompt files; of several, all of them. Raises DarkroomError where two are of unequal types."""
        found = self.runs[0].own
        for run in self.runs[1:]:
            found = unify(f"run {run.name}", found, run.own)
        return found

    def count(self) -> Counts:
        """By a look at few columns."""
        images, sizes, cells = Counter[str](), Counter[str](), Counter[tuple[int, str]]()
        left_out, num_truncated, digest = LeftOut(), 0, _ImageDigest()
        provenance = {name: Counter[str]() for name in _PROVENANCE}
        batch_sizes = [Counter[int]() for _ in self.runs]
        for place, table in self._blocks(_COUNTED, left_out):
            splits = self._splits(table)
            digest.add(table, splits)
            images.update(splits)
            cells.update((place, cell_id) for cell_id in table["cell_id"].to_pylist())
            num_truncated += pc.sum(table["truncated"]).as_py() or 0
            for name, values in provenance.items():
                values.update(str(value) for value in table[name].to_pylist() if value is not None)
            batch_sizes[place].update(table["batch_size"].to_pylist())
            for split, size in zip(splits, table["bytes"].to_pylist(), strict=True):
                sizes[split] += size or 0
        counted = {name: SplitCount(images[name], sizes[name]) for name in sorted(self.splits)}
        return Counts(
            counted, cells, left_out.without_image, left_out.num_excluded, num_truncated, self.copies.counts,
            provenance, {place: each.most_common(1)[0][0] for place, each in enumerate(batch_sizes) if each},
            digest.text, left_out.policies,
        )  # fmt: skip

    def shards(self, sizes: Mapping[str, Sequence[int]], counts: Counts) -> Iterator[ShardRows]:
        """What was counted, in numbered shards of as many images. Raises DarkroomError where it is another by now."""
        waiting: dict[str, list[pa.Table]] = {split: [] for split in sizes}
        numbers, digest = Counter[str](), _ImageDigest()
        for table in self._whole_blocks():
            splits = self._splits(table)
            digest.add(table, splits)
            for split, rows in waiting.items():
                rows.append(table.filter(pa.array([each == split for each in splits], pa.bool_())))
                while numbers[split] < len(sizes[split]) and sum(map(len, rows)) >= sizes[split][numbers[split]]:
                    joined = pa.concat_tables(rows, promote_options="default")
                    size = sizes[split][numbers[split]]
                    yield ShardRows(split, numbers[split], len(sizes[split]), joined.slice(0, size))
                    numbers[split] += 1
                    rows[:] = [joined.slice(size)]
        if digest.text != counts.digest:
            raise DarkroomError(
                f"{', '.join(run.store.describe() for run in self.runs)}: images changed while they were exported; "
                "wait for other jobs on the run to end, and export into another folder"
            )

    def first(self, count: int) -> pa.Table:
        """The records of the first images, and RUN."""
        found: list[pa.Table] = []
        for table in self._whole_blocks():
            found.append(table)
            if sum(map(len, found)) >= count:
                break
        return pa.concat_tables(found, promote_options="default").slice(0, count)

    def _blocks(self, columns: Sequence[str] | None, left_out: LeftOut | None = None) -> Iterator[tuple[int, pa.Table]]:
        """With the place of the run."""
        for place, run in enumerate(self.runs):
            for table in run.blocks(columns, left_out):
                yield place, self.copies.without(place, table)

    def _whole_blocks(self) -> Iterator[pa.Table]:
        """All columns, of all runs those that one of them has; and RUN."""
        for place, table in self._blocks(None):
            run = self.runs[place]
            table = table if run.own.equals(self.own, check_metadata=True) else self._with_all_columns(run, table)
            yield table.append_column(RUN, pa.array([place] * len(table), pa.int64()))

    def _with_all_columns(self, run: Selection, table: pa.Table) -> pa.Table:
        faults: dict[int, Any] = {}
        own = extra_columns(table.select(run.own.names), self.own, faults)
        if faults:
            fault = next(iter(faults.values()))
            raise DarkroomError(f"run {run.name}: {fault}, as the other runs have it; export them apart")
        table = table.drop_columns(run.own.names)
        for column in self.own:
            table = table.append_column(column, own[column.name])
        return table

    def _splits(self, table: pa.Table) -> list[str]:
        known: dict[str, str] = {}
        prompts = table["prompt"].to_pylist()
        for prompt in prompts:
            if prompt not in known:
                known[prompt] = split_of(prompt, self.splits)
        return [known[prompt] for prompt in prompts]


class _ImageDigest:
    """Of images in order, each with its split."""

    def __init__(self) -> None:
        self._lines = hashlib.sha256()

    def add(self, table: pa.Table, splits: Sequence[str]) -> None:
        for split, image_id, sha256 in zip(
            splits, table["image_id"].to_pylist(), table["sha256"].to_pylist(), strict=True
        ):
            self._lines.update(f"{split} {image_id} {sha256}\n".encode())

    @property
    def text(self) -> str:
        return self._lines.hexdigest()
