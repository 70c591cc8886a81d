"""One look at every row of a dataset's sources: what is at fault, what is repeated, which extra columns there are.

Memory is flat but for eight bytes a row, which find the repeats. Knows sources; makes no rows for others.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.domain.errors import DarkroomError
from pipeline.prompts import ids
from pipeline.prompts.checks import RANGES, Checked, Fault, check, shown
from pipeline.prompts.columns import READ, concrete, plain_field, unify_extras
from pipeline.prompts.raw import Source

GivenIds = dict[int, tuple[str, int | None]]  # row with an id of its own and no fault -> id, number of images

_SCAN_ROWS = 16_384


@dataclass
class Problem:
    """All rows of one source with one kind of fault in one column."""

    source: str
    fault: Fault  # the first
    row: int  # of the first, in the dataset
    place: str  # of the first, in the source
    count: int = 0

    def __str__(self) -> str:
        rows = "row" if self.count == 1 else "rows"
        what = f"column {self.fault.column!r} has {self.count} {self.fault.kind} {rows}"
        if not self.fault.column:
            what = f"{self.count} {rows} {'is' if self.count == 1 else 'are'} {self.fault.kind}"
        needed = f", needed {RANGES[self.fault.column]}" if self.fault.column in RANGES else ""
        value = f": {self.fault.value}" if self.fault.value else ""
        return f"{self.source}: {what}{needed}, first at row {self.row}{self.place}{value}"


@dataclass
class Tally:
    """Counts that grow block by block."""

    num_faulty: int = 0
    num_images_given: int = 0  # over valid rows that say a number
    num_rows_without: int = 0  # valid rows that say none
    num_given_ids: int = 0
    max_prompt_chars: int = 0
    problems: dict[tuple[str, str, str], Problem] = field(default_factory=dict)

    def add(self, checked: Checked) -> None:
        images = checked.columns.get("num_images_per_prompt", pa.nulls(len(checked), pa.int64()))
        if checked.faults:
            images = images.take(pa.array([i for i in range(len(checked)) if i not in checked.faults], pa.int64()))
        self.num_images_given += pc.sum(images).as_py() or 0
        self.num_rows_without += images.null_count
        self.num_faulty += len(checked.faults)
        self.max_prompt_chars = max(
            self.max_prompt_chars, pc.max(pc.utf8_length(checked.columns["prompt"])).as_py() or 0
        )
        if "prompt_id" in checked.columns:
            self.num_given_ids += len(checked) - checked.columns["prompt_id"].null_count

    def report(self, source: str, fault: Fault, row: int, place: str) -> None:
        known = self.problems.setdefault((source, fault.column, fault.kind), Problem(source, fault, row, place))
        known.count += 1


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset once every row was looked at."""

    starts: tuple[int, ...]  # dataset row of each source's first row, and the number of rows
    extras: pa.Schema  # by the sources' own names
    repeats: ids.Occurrences
    clashes: dict[int, int]  # row -> earlier row of the same id, where ids are given to some rows only
    tally: Tally

    @property
    def num_rows(self) -> int:
        return self.starts[-1]


def look(sources: Sequence[Source]) -> Facts:
    schemas = [source.schema() for source in sources]  # all headers before any row
    extras = _known_extras(sources, schemas)
    tally = Tally()
    hashes: list[np.ndarray] = []
    sizes: list[int] = []
    for source, schema in zip(sources, schemas, strict=True):
        size, found = _first_pass(source, schema, sum(sizes), tally, hashes)
        extras = unify_extras(source.name, extras, found, loose=all(each is None for each in schemas))
        sizes.append(size)
    starts = tuple(accumulate(sizes, initial=0))
    shared = ids.candidates(_joined(hashes))
    repeats = _name_repeats(sources, starts, shared, tally)
    mixed = 0 < tally.num_given_ids < starts[-1]
    clashes = _clashes(sources, starts, repeats, tally) if mixed else {}
    return Facts(starts, pa.schema([concrete(each) for each in extras]), repeats, clashes, tally)


def checked_blocks(sources: Sequence[Source], starts: Sequence[int], block_rows: int) -> Iterator[tuple[int, Checked]]:
    """Every block of the dataset, checked, with its dataset row; read columns only."""
    for source, start in zip(sources, starts, strict=False):
        for raw in source.read(0, block_rows, None):
            yield start + raw.start, check(raw.table, raw.faults)


def names(start: int, checked: Checked, repeats: ids.Occurrences, clashes: dict[int, int]) -> list[str]:
    """The final id of every row of a block; adds a fault for a given id that is not the row's alone."""
    given = ids.given_ids(checked)
    later = repeats.within(start, start + len(checked))
    named = []
    for position, (prompt, said) in enumerate(ids.sayings(checked)):
        row, own = start + position, given[position]
        count, first = later.get(row, (0, clashes.get(row)))
        if own is not None and first is not None:
            checked.faults.setdefault(position, duplicate(own, first))
            own = None
        if own is None and position in checked.faults:
            own = ids.invalid_digest(row, prompt)
        named.append(ids.row_digest(prompt, said, count) if own is None else own)
    return named


def _joined(hashes: list[np.ndarray]) -> np.ndarray:
    joined = np.concatenate([np.empty(0, np.int64), *hashes])
    hashes.clear()  # eighty megabytes for ten million rows
    return joined


def duplicate(own: str, first: int) -> Fault:
    return Fault("prompt_id", "duplicate", f"{shown(own)} is the id of row {first} too")


def _known_extras(sources: Sequence[Source], schemas: Sequence[pa.Schema | None]) -> pa.Schema:
    extras = pa.schema([])
    for source, schema in zip(sources, schemas, strict=True):
        extras = unify_extras(source.name, extras, _extras_of(schema or pa.schema([])))
    return extras


def _extras_of(schema: pa.Schema) -> pa.Schema:
    return pa.schema([plain_field(each) for each in schema if each.name not in READ])


def _first_pass(
    source: Source, schema: pa.Schema | None, start: int, tally: Tally, hashes: list[np.ndarray]
) -> tuple[int, pa.Schema]:
    """Look at one source's rows; its size, and the extra columns that were not known before."""
    size, found, has_prompt = 0, pa.schema([]), False
    for raw in source.read(0, _SCAN_ROWS, None):
        checked = check(raw.table, raw.faults)
        hashes.append(ids.row_hashes(start + raw.start, checked))
        tally.add(checked)
        for position, fault in checked.faults.items():
            row = raw.start + position
            place = f" (line {raw.lines[position]})" if raw.lines else f" (row {row} of this file)" if start else ""
            tally.report(source.name, fault, start + row, place)
        if schema is None:
            found = unify_extras(source.name, found, _extras_of(raw.table.schema), loose=True)
            has_prompt |= bool(raw.faults) or raw.table.schema.field("prompt").type != pa.null()
        size += len(checked)
    source.check_unchanged()
    if schema is None and size and not has_prompt:
        raise DarkroomError(f"{source.name}: no row has a 'prompt'; rename the key that holds the prompts")
    return size, found


def _name_repeats(
    sources: Sequence[Source], starts: Sequence[int], shared: np.ndarray, tally: Tally
) -> ids.Occurrences:
    """Compare the rows that may be repeated by what they are named, and report given ids that are there twice."""
    keys = bytearray()
    given: GivenIds = {}
    if len(shared):
        for start, checked in checked_blocks(sources, starts, _SCAN_ROWS):
            low, high = np.searchsorted(shared, [start, start + len(checked)])
            for each in _keys(start, checked, (shared[low:high] - start).tolist(), given):
                keys += each
    pairs = np.frombuffer(keys, np.uint64).reshape(-1, 2)
    repeats = ids.occurrences(shared, pairs)
    later = zip(repeats.rows.tolist(), repeats.firsts.tolist(), strict=True)
    _report_duplicates(sources, starts, ((row, first) for row, first in later if row in given), given, tally)
    return repeats


def _keys(start: int, checked: Checked, positions: list[int], given: GivenIds) -> Iterator[bytes]:
    """What stands for each row's name before repeats are told apart; notes the ids that were given."""
    if not positions:
        return
    own_ids = ids.given_ids(checked)
    images = checked.columns.get("num_images_per_prompt")
    for position, (prompt, said) in zip(positions, ids.sayings(checked, positions), strict=True):
        own, row = own_ids[position], start + position
        if own is not None and position not in checked.faults:
            given[row] = (own, None if images is None else images[position].as_py())
        if own is None:
            own = ids.invalid_digest(row, prompt) if position in checked.faults else ids.row_digest(prompt, said)
        yield ids.key(own)


def _clashes(
    sources: Sequence[Source], starts: Sequence[int], repeats: ids.Occurrences, tally: Tally
) -> dict[int, int]:
    """Given ids that are also what another row is called by what it says: possible once ids are exported and mixed."""
    keys = bytearray()
    given: GivenIds = {}
    for start, checked in checked_blocks(sources, starts, _SCAN_ROWS):
        own_ids, before = ids.given_ids(checked), set(checked.faults)
        images = checked.columns.get("num_images_per_prompt")
        for position, name in enumerate(names(start, checked, repeats, {})):
            keys += ids.key(name)
            if own_ids[position] == name and position not in before:
                given[start + position] = (name, None if images is None else images[position].as_py())
    pairs = np.frombuffer(keys, np.uint64).reshape(-1, 2)
    same = ids.occurrences(np.arange(len(pairs)), pairs)
    found: dict[int, int] = {}
    for row, first in zip(same.rows.tolist(), same.firsts.tolist(), strict=True):
        owner, other = (row, first) if row in given else (first, row)  # the row whose id was given is at fault
        found[owner] = other
    _report_duplicates(sources, starts, found.items(), given, tally)
    return found


def _report_duplicates(
    sources: Sequence[Source], starts: Sequence[int], pairs: Iterable[tuple[int, int]], given: GivenIds, tally: Tally
) -> None:
    """Count each row that bears another's id as faulty, and its images no more."""
    for row, first in pairs:
        own, images = given[row]
        index = bisect_right(starts, row) - 1
        place = f" (row {row - starts[index]} of this file)" if index else ""
        tally.report(sources[index].name, duplicate(own, first), row, place)
        tally.num_faulty += 1
        tally.num_images_given -= images or 0
        tally.num_rows_without -= images is None
