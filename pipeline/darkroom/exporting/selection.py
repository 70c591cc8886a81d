"""Which images of one run are exported: read block by block, in order of cells and rows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
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
from darkroom.prompts.extras import unify
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import CellInfo
from darkroom.runs.commands import on_run
from darkroom.runs.features import ShardFeatures, get_features
from darkroom.runs.listing import ShardSet, committed_shards
from darkroom.runs.manifest import RECORD_SCHEMA, extra_columns
from darkroom.runs.policy_counts import POLICY_COLUMNS, PolicyCount
from darkroom.runs.reading import as_in_cell
from darkroom.storage.store import Store, prefetched

TEXT = "text"  # what datasets call an image's prompt
FEATURES = "\0\0"  # the column of features of `Selection.blocks`
_SCORE = "\0"  # before the name of a score's column: a prompt file may have one that is called as the score is
_ALWAYS = ("image_id", "status", "sha256")
_BLOCK_ROWS = 4096
_NONE = np.empty(0, np.float32)


def score_column(name: str) -> str:
    """Of `ShardRows.table`."""
    return f"{_SCORE}{name}"


@dataclass
class LeftOut:
    """Counts of what a walk over a run leaves out."""

    without_image: Counter[str] = field(default_factory=Counter)  # records by their status
    num_excluded: int = 0  # images that do not hold the condition
    policies: dict[str, PolicyCount] = field(default_factory=dict)  # of all records, by the run's name


@dataclass(frozen=True, eq=False)
class Selection:
    """The committed images of some cells of a run that hold a condition."""

    name: str  # of the run, for people and in columns
    store: Store
    shard_size: int  # rows of the run's shards
    cells: Mapping[str, CellInfo]  # by cell_id, those that are chosen
    condition: Condition | None
    known: Mapping[str, ImageScores]  # scores of single images that the run's evaluations have, by Metric.name
    scores: Sequence[str]  # those of them that become columns
    evaluations: Sequence[Evaluation] = ()  # of the run, oldest first
    starts: Sequence[int] = (0,)  # where the rows begin that the run was grown by: they may have more columns

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

    @cached_property
    def there(self) -> ShardSet:
        """Shards that were committed when this was first asked for: the run may grow since."""
        listed = (committed_shards(self.store, cell_id, with_copies=False) for cell_id in self.cells)
        return ShardSet(self.shard_size, (each.shard for each in chain.from_iterable(listed)))

    def blocks(
        self, columns: Sequence[str] | None, left_out: LeftOut | None = None, extractor_id: str | None = None
    ) -> Iterator[pa.Table]:
        """The chosen images' records, many at a time, with scores and what the condition reads.

        `columns`: of records; None: all. `extractor_id`: features by it become the column FEATURES.
        """
        left_out = left_out or LeftOut()
        if columns is not None:
            read = self._found.values() if self.condition else ()
            own = [name for name in read if name not in self._by_extractor]
            columns = list(dict.fromkeys([*_ALWAYS, *columns, *own]))
        waiting: list[pa.Table] = []
        for table in self._with_image(columns, left_out, extractor_id):
            waiting.append(table)
            if sum(map(len, waiting)) >= _BLOCK_ROWS:
                yield self._chosen(waiting, left_out)
                waiting = []
        if waiting:
            yield self._chosen(waiting, left_out)

    # From records to those that are chosen ---------------------------------------------------------------------------

    def _with_image(
        self, columns: Sequence[str] | None, left_out: LeftOut, extractor_id: str | None
    ) -> Iterator[pa.Table]:
        """Shard by shard, the records that have an image."""
        listed = chain.from_iterable(committed_shards(self.store, cell_id) for cell_id in self.cells)
        shards = read_each(self.store, (each for each in listed if each.shard in self.there), columns)
        for table in prefetched(shards, lambda item: self._with_scores(*item, extractor_id)):
            if set(POLICY_COLUMNS) <= set(table.column_names):
                left_out.policies.setdefault(self.name, PolicyCount()).add(table)
            is_ok = pc.equal(table["status"], OK)
            left_out.without_image.update(table.filter(pc.invert(is_ok))["status"].to_pylist())
            yield self._whole(table.filter(is_ok)) if columns is None else table.filter(is_ok)

    def _whole(self, table: pa.Table) -> pa.Table:
        """With own columns that its rows had none of."""
        for column in self.own:
            if column.name not in table.column_names:
                table = table.append_column(column, pa.nulls(len(table), column.type))
        return table

    def _with_scores(self, shard: Shard, table: pa.Table, extractor_id: str | None) -> pa.Table:
        table = as_in_cell(table, shard.cell_id, self.cells).replace_schema_metadata(None)
        for name, values in self._stored(shard, table, extractor_id).items():
            table = table.append_column(name, values)
        return table

    def _stored(self, shard: Shard, table: pa.Table, wanted: str | None) -> dict[str, pa.Array]:
        """Column -> score or features of each record; null where it does not apply, or the image has none."""
        found: dict[str, pa.Array] = {}
        ids = [*(each.metric.extractor_id for each in self._wanted.values()), *([wanted] if wanted else [])]
        rows = table.select(_ALWAYS).to_pylist() if ids else []
        for extractor_id in dict.fromkeys(ids):
            features = get_features(self.store, extractor_id, shard)
            places = [features.place(row["image_id"], row["sha256"]) if features else None for row in rows]
            if any(place is None and row["status"] == OK for place, row in zip(places, rows, strict=True)):
                raise self._unmeasured(shard, extractor_id)
            for name, scores in self._wanted.items():
                if scores.metric.extractor_id == extractor_id:
                    values = scores.of(features.images) if features else np.empty(0)
                    own = np.array([np.nan if place is None else values[place] for place in places], np.float64)
                    found[score_column(name)] = pa.array(own, pa.float64(), from_pandas=True)
            if extractor_id == wanted:
                found[FEATURES] = _features(features, places)
        return found

    def _unmeasured(self, shard: Shard, extractor_id: str) -> DarkroomError:
        names = [name for name, each in self._wanted.items() if each.metric.extractor_id == extractor_id]
        measured = [
            each
            for each in self.evaluations
            if each.options and any(metric.extractor_id == extractor_id for metric in each.metrics.values())
        ]
        before = [each.options for each in measured]
        command = on_run("evaluate", self.store.spec, **(before[-1] if before else {}))
        return DarkroomError(
            f"{self.store.describe()}: not all images of cell {shard.cell_id} have {', '.join(names) or 'features'}; "
            f"measure them with `{command}`, or leave {'the score out of scores and where' if names else 'dedup out'}"
        )

    def _chosen(self, tables: Sequence[pa.Table], left_out: LeftOut) -> pa.Table:
        """Those that hold the condition."""
        block = pa.concat_tables(tables, promote_options="permissive")  # types may have grown since older shards
        if self.condition is None:
            return block
        asked = block
        for extractor, names in self._by_extractor.items():
            if extractor in self._found.values():
                columns = [block[score_column(name)].combine_chunks() for name in names]
                kinds = [name.removeprefix(f"{extractor}.") for name in names]
                asked = asked.append_column(extractor, pa.StructArray.from_arrays(columns, kinds))
        holds = self.condition.holds(asked, self._found)
        left_out.num_excluded += int((~holds).sum())
        return block.filter(pa.array(holds))

    # Columns ---------------------------------------------------------------------------------------------------------

    @cached_property
    def own(self) -> pa.Schema:
        """Columns of the prompt files."""
        found = pa.schema([])
        for shard in self._first_shards():
            found = unify(f"run {self.name}", found, extra_columns(manifest.read(self.store, shard)).schema)
        return found

    def _first_shards(self) -> Iterator[Shard]:
        """One of each part of the rows, where one is committed, of whichever cell."""
        waiting = {*self.starts}
        for cell_id in self.cells:
            for shard in manifest.committed(self.store, cell_id):
                start = max((each for each in self.starts if each <= shard.start), default=None)
                if start in waiting:
                    waiting.discard(start)
                    yield shard
                if not waiting:
                    return

    @cached_property
    def _by_extractor(self) -> dict[str, list[str]]:
        """What a condition calls a column whose fields are scores, such as clip of clip.clip_score -> their names."""
        taken, found = {*RECORD_SCHEMA.names, *self.own.names, TEXT}, dict[str, list[str]]()
        for name in self.known:
            if (extractor := name.partition(".")[0]) not in taken:
                found.setdefault(extractor, []).append(name)
        return found

    @cached_property
    def _names(self) -> dict[str, str]:
        """What a condition may call a column -> the column's name."""
        names = [*RECORD_SCHEMA.names, *self.own.names]
        return {TEXT: "prompt", **dict(zip(names, names, strict=True)), **{name: name for name in self._by_extractor}}

    @cached_property
    def _found(self) -> dict[str, str]:
        return self.condition.found(self._names) if self.condition else {}

    @property
    def read_scores(self) -> Sequence[str]:
        """Names of scores that are read: those that become columns, and those that the condition asks for."""
        return tuple(self._wanted)

    @cached_property
    def _wanted(self) -> dict[str, ImageScores]:
        asked: Iterable[Any] = (self._by_extractor.get(name, ()) for name in self._found.values())
        return {name: self.known[name] for name in dict.fromkeys([*self.scores, *chain.from_iterable(asked)])}


def _features(features: ShardFeatures | None, places: Sequence[int | None]) -> pa.Array:
    """Of each record a list of float32; empty where there are none."""
    rows = [features.images.features[place] if features and place is not None else _NONE for place in places]
    ends = np.cumsum([0, *map(len, rows)], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(ends), pa.array(np.concatenate([_NONE, *rows]), pa.float32()))
