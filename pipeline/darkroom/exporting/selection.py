"""Which images of a run are exported, and in which split each is: read block by block, in order of cells and rows."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard
from darkroom.domain.records import OK
from darkroom.domain.setting_values import unknown
from darkroom.evaluation.figures import Evaluation
from darkroom.evaluation.latest import ImageScores
from darkroom.prompts.conditions import Condition
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import CellInfo
from darkroom.runs.commands import on_run
from darkroom.runs.features import get_features
from darkroom.runs.listing import Committed, ShardSet, committed_shards
from darkroom.runs.manifest import RECORD_SCHEMA
from darkroom.runs.policy_counts import POLICY_COLUMNS, PolicyCount
from darkroom.runs.reading import as_in_cell
from darkroom.storage.store import Store, prefetched

TEXT = "text"  # what datasets call an image's prompt
_SCORE = "\0"  # before the name of a score's column: a prompt file may have one that is called as the score is
WHOLE: Mapping[str, float] = {"train": 1.0}  # all in the split that readers take where there is one
_PROVENANCE = ("darkroom_version", "torch_version", "diffusers_version", "device", "dtype", "batch_size")
_COUNTED = (*POLICY_COLUMNS, "image_id", "sha256", "prompt", "bytes", "cell_id", "truncated", *_PROVENANCE)
_BLOCK_ROWS = 4096


def score_column(name: str) -> str:
    """Of `ShardRows.table`."""
    return f"{_SCORE}{name}"


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
    cells: Mapping[str, int]  # images by cell_id
    without_image: Mapping[str, int]  # records by their status
    num_excluded: int  # by the condition
    num_truncated: int  # of the chosen: their prompt was longer than the text encoder reads
    provenance: Mapping[str, Mapping[str, int]]  # column that says how images were made -> value -> images
    shards: ShardSet  # of the run, that were looked at: it may have grown since
    digest: str  # of the images and their splits, in order
    policy: PolicyCount = field(default_factory=PolicyCount)  # of all records of the cells

    @property
    def num_images(self) -> int:
        return sum(count.num_images for count in self.splits.values())

    @property
    def num_bytes(self) -> int:
        return sum(count.num_bytes for count in self.splits.values())


@dataclass(frozen=True, eq=False)
class ShardRows:
    """The records of one numbered shard of a split, and their scores."""

    split: str
    number: int  # from 0
    num_shards: int  # of the split
    table: pa.Table


@dataclass(frozen=True, eq=False)
class Selection:
    """The committed images of some cells that hold a condition."""

    store: Store
    shard_size: int  # rows of the run's shards
    cells: Mapping[str, CellInfo]  # by cell_id, those that are chosen
    condition: Condition | None
    known: Mapping[str, ImageScores]  # scores of single images that the run's evaluations have, by Metric.name
    scores: Sequence[str]  # those of them that become columns
    splits: Mapping[str, float] = field(default_factory=lambda: WHOLE)
    evaluations: Sequence[Evaluation] = ()  # of the run, oldest first

    def check(self) -> None:
        """Raises DarkroomError for a score or a column of the condition that the run does not have."""
        for name in self.scores:
            if name not in self.known:
                if not self.known:
                    raise DarkroomError(
                        f"scores: {name}: no score of single images is stored with the run; measure one first with "
                        f"`{on_run('evaluate', self.store.spec)}`"
                    )
                raise DarkroomError(f"scores: {unknown(name, tuple(self.known), 'score of the run')}")
        if self.condition:
            self.condition.check(self._names)

    def count(self) -> Counts:
        """By a first look at few columns."""
        images, sizes, cells = Counter[str](), Counter[str](), Counter[str]()
        without, num_excluded, num_truncated, digest = Counter[str](), 0, 0, _ImageDigest()
        provenance, shards = {name: Counter[str]() for name in _PROVENANCE}, ShardSet(self.shard_size)
        read = self._found.values() if self.condition else ()
        columns = list(dict.fromkeys([*_COUNTED, *(name for name in read if name not in self._by_extractor)]))
        policy = PolicyCount()
        for block in self._blocks(self._noted(shards), columns, without, policy):
            table, excluded = self._chosen(block)
            num_excluded += excluded
            splits = self._splits(table)
            digest.add(table, splits)
            images.update(splits)
            cells.update(table["cell_id"].to_pylist())
            num_truncated += pc.sum(table["truncated"]).as_py() or 0
            for name, values in provenance.items():
                values.update(str(value) for value in table[name].to_pylist() if value is not None)
            for split, size in zip(splits, table["bytes"].to_pylist(), strict=True):
                sizes[split] += size or 0
        counted = {name: SplitCount(images[name], sizes[name]) for name in sorted(self.splits)}
        return Counts(counted, cells, without, num_excluded, num_truncated, provenance, shards, digest.text, policy)

    def shards(self, sizes: Mapping[str, Sequence[int]], counts: Counts) -> Iterator[ShardRows]:
        """What was counted, in numbered shards of as many images. Raises DarkroomError where it is another by now."""
        waiting: dict[str, list[pa.Table]] = {split: [] for split in sizes}
        numbers, digest = Counter[str](), _ImageDigest()
        listed = (each for each in self._committed() if each.shard in counts.shards)
        for block in self._blocks(listed, None, Counter()):
            table, _ = self._chosen(block)
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
                f"{self.store.describe()}: its images changed while they were exported; wait for other jobs on the run "
                "to end, and export into another folder"
            )

    # From records to those that are chosen ---------------------------------------------------------------------------

    def _committed(self) -> Iterator[Committed]:
        return chain.from_iterable(committed_shards(self.store, cell_id) for cell_id in self.cells)

    def _noted(self, shards: ShardSet) -> Iterator[Committed]:
        for each in self._committed():
            shards.add(each.shard)
            yield each

    def _blocks(
        self,
        shards: Iterable[Committed],
        columns: Sequence[str] | None,
        without: Counter[str],
        policy: PolicyCount | None = None,
    ) -> Iterator[pa.Table]:
        """Records that have an image, many at a time; others are counted by their status, and all by `policy`."""
        waiting: list[pa.Table] = []
        for table in prefetched(read_each(self.store, shards, columns), lambda item: self._with_scores(*item)):
            if policy is not None:
                policy.add(table)
            is_ok = pc.equal(table["status"], OK)
            without.update(table.filter(pc.invert(is_ok))["status"].to_pylist())
            waiting.append(table.filter(is_ok))
            if sum(map(len, waiting)) >= _BLOCK_ROWS:
                yield pa.concat_tables(waiting, promote_options="default")
                waiting = []
        if waiting:
            yield pa.concat_tables(waiting, promote_options="default")

    def _with_scores(self, shard: Shard, table: pa.Table) -> pa.Table:
        table = as_in_cell(table, shard.cell_id, self.cells).replace_schema_metadata(None)
        for name, values in self._scores_of(shard, table).items():
            table = table.append_column(name, values)
        return table

    def _scores_of(self, shard: Shard, table: pa.Table) -> dict[str, pa.Array]:
        """Column -> score of each record; null where it does not apply, or the image has none."""
        found: dict[str, pa.Array] = {}
        rows = table.select(["image_id", "sha256", "status"]).to_pylist() if self._wanted else []
        for extractor_id in dict.fromkeys(each.metric.extractor_id for each in self._wanted.values()):
            features = get_features(self.store, extractor_id, shard)
            places = [features.place(row["image_id"], row["sha256"]) if features else None for row in rows]
            if any(place is None and row["status"] == OK for place, row in zip(places, rows, strict=True)):
                raise self._unmeasured(shard)
            for name, scores in self._wanted.items():
                if scores.metric.extractor_id == extractor_id:
                    values = scores.of(features.images) if features else np.empty(0)
                    own = np.array([np.nan if place is None else values[place] for place in places], np.float64)
                    found[score_column(name)] = pa.array(own, pa.float64(), from_pandas=True)
        return found

    def _unmeasured(self, shard: Shard) -> DarkroomError:
        names = ", ".join(self._wanted)
        before = [each.options for each in self.evaluations if each.options and self._wanted.keys() & each.metrics]
        command = on_run("evaluate", self.store.spec, **(before[-1] if before else {}))
        return DarkroomError(
            f"{self.store.describe()}: not all images of cell {shard.cell_id} have {names}; measure them with "
            f"`{command}`, or leave the score out of scores and where"
        )

    def _chosen(self, block: pa.Table) -> tuple[pa.Table, int]:
        """Those that hold the condition, and how many do not."""
        if self.condition is None:
            return block, 0
        asked = block
        for extractor, names in self._by_extractor.items():
            if extractor in self._found.values():
                columns = [block[score_column(name)].combine_chunks() for name in names]
                kinds = [name.removeprefix(f"{extractor}.") for name in names]
                asked = asked.append_column(extractor, pa.StructArray.from_arrays(columns, kinds))
        holds = self.condition.holds(asked, self._found)
        return block.filter(pa.array(holds)), int((~holds).sum())

    def _splits(self, table: pa.Table) -> list[str]:
        known: dict[str, str] = {}
        prompts = table["prompt"].to_pylist()
        for prompt in prompts:
            if prompt not in known:
                known[prompt] = split_of(prompt, self.splits)
        return [known[prompt] for prompt in prompts]

    # Columns ---------------------------------------------------------------------------------------------------------

    @cached_property
    def own_columns(self) -> list[str]:
        """Of the prompt file."""
        for cell_id in self.cells:
            for shard in manifest.committed(self.store, cell_id):
                names = manifest.read(self.store, shard).column_names
                return [name for name in names if name not in RECORD_SCHEMA.names]
        return []

    @cached_property
    def _by_extractor(self) -> dict[str, list[str]]:
        """What a condition calls a column whose fields are scores, such as clip of clip.clip_score -> their names."""
        taken, found = {*RECORD_SCHEMA.names, *self.own_columns, TEXT}, dict[str, list[str]]()
        for name in self.known:
            if (extractor := name.partition(".")[0]) not in taken:
                found.setdefault(extractor, []).append(name)
        return found

    @cached_property
    def _names(self) -> dict[str, str]:
        """What a condition may call a column -> the column's name."""
        names = [*RECORD_SCHEMA.names, *self.own_columns]
        return {TEXT: "prompt", **dict(zip(names, names, strict=True)), **{name: name for name in self._by_extractor}}

    @cached_property
    def _found(self) -> dict[str, str]:
        return self.condition.found(self._names) if self.condition else {}

    @cached_property
    def _wanted(self) -> dict[str, ImageScores]:
        """Scores that are read: those that become columns, and those that the condition asks for."""
        asked: Iterable[Any] = (self._by_extractor.get(name, ()) for name in self._found.values())
        return {name: self.known[name] for name in dict.fromkeys([*self.scores, *chain.from_iterable(asked)])}


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
