"""One look at every row of a dataset's sources: what is at fault, what is repeated, which extra columns there are.

Memory is flat, however many rows there are. Knows sources; makes no rows for others.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
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
from pipeline.prompts.repeats import LATER, Later, Repeats

_SCAN_ROWS = 16_384
_EXPORTED = r"^[0-9a-f]{32}$"


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
    num_exported_ids: int = 0  # of these, in the form of the ids that we give
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
            own = checked.columns["prompt_id"]
            self.num_given_ids += len(own) - own.null_count
            self.num_exported_ids += pc.sum(pc.match_substring_regex(own, _EXPORTED)).as_py() or 0

    def report(self, source: str, fault: Fault, row: int, place: str) -> None:
        known = self.problems.setdefault((source, fault.column, fault.kind), Problem(source, fault, row, place))
        known.count += 1


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset once every row was looked at."""

    starts: tuple[int, ...]  # dataset row of each source's first row, and the number of rows
    extras: pa.Schema  # by the sources' own names
    repeats: Later  # rows of one id, or without an id and of one saying
    clashes: Later  # rows with an id that is also what a row without one is called
    tally: Tally

    @property
    def num_rows(self) -> int:
        return self.starts[-1]


def look(sources: Sequence[Source]) -> Facts:
    schemas = [source.schema() for source in sources]  # all headers before any row
    extras = _known_extras(sources, schemas)
    tally = Tally()
    repeats = Repeats()
    sizes: list[int] = []
    for source, schema in zip(sources, schemas, strict=True):
        size, found = _first_pass(source, schema, sum(sizes), tally, repeats)
        extras = unify_extras(source.name, extras, found, loose=all(each is None for each in schemas))
        sizes.append(size)
    starts = tuple(accumulate(sizes, initial=0))
    repeated = _collected(repeats, starts)
    if tally.num_given_ids:
        _report_duplicates(sources, starts, repeated, tally)
    clashes = Later(starts[-1])
    if tally.num_exported_ids and tally.num_given_ids < starts[-1]:
        clashes = _clashes(sources, starts, repeated)
        _report_duplicates(sources, starts, clashes, tally)
    return Facts(starts, pa.schema([concrete(each) for each in extras]), repeated, clashes, tally)


def checked_blocks(sources: Sequence[Source], starts: Sequence[int], block_rows: int) -> Iterator[tuple[int, Checked]]:
    """Every block of the dataset, checked, with its dataset row; read columns only."""
    for source, start in zip(sources, starts, strict=False):
        for raw in source.read(0, block_rows, None):
            yield start + raw.start, check(raw.table, raw.faults)


def names(start: int, checked: Checked, repeats: Later, clashes: Later) -> list[str]:
    """The final id of every row of a block; adds a fault for a given id that is not the row's alone."""
    given, stop = ids.given_ids(checked), start + len(checked)
    later = clashes.within(start, stop) | repeats.within(start, stop)
    named = []
    for position, (prompt, said) in enumerate(ids.sayings(checked)):
        row, own = start + position, given[position]
        count, first = later.get(row, (0, None))
        if own is not None and first is not None:
            checked.faults.setdefault(position, duplicate(own, first))
            own = None
        if own is None and position in checked.faults:
            own = ids.invalid_digest(row, prompt)
        named.append(ids.row_digest(prompt, said, count) if own is None else own)
    return named


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
    source: Source, schema: pa.Schema | None, start: int, tally: Tally, repeats: Repeats
) -> tuple[int, pa.Schema]:
    """Look at one source's rows; its size, and the extra columns that were not known before."""
    size, found, has_prompt = 0, pa.schema([]), False
    for raw in source.read(0, _SCAN_ROWS, None):
        checked = check(raw.table, raw.faults)
        repeats.add(ids.row_keys(start + raw.start, checked))
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


def _collected(repeats: Repeats, starts: Sequence[int]) -> Later:
    found = Later(starts[-1])
    for later in repeats.later():
        found.add(later)
    return found


def _clashes(sources: Sequence[Source], starts: Sequence[int], repeated: Later) -> Later:
    """Given ids that are also what another row is called by what it says: possible once ids are exported and mixed."""
    same, none = Repeats(), Later(0)
    for start, checked in checked_blocks(sources, starts, _SCAN_ROWS):
        own_ids = ids.given_ids(checked)
        named = names(start, checked, repeated, none)
        given = np.array([name == own for name, own in zip(named, own_ids, strict=True)])
        rows = np.arange(start, start + len(checked))
        same.add(ids.keyed(2 * rows + given, [name.encode() for name in named]))
    found = Later(starts[-1])
    for later in same.later():  # pairs of a row whose id was given and one whose was not; the former is at fault
        found.add(_owners(later))
    return found


def _owners(later: np.ndarray) -> np.ndarray:
    pairs = np.stack([later["row"], later["first"]])
    pairs = np.where(pairs[0] % 2, pairs, pairs[::-1]) // 2
    owners = np.zeros(len(later), LATER)
    owners["row"], owners["first"] = pairs
    return owners


def _report_duplicates(sources: Sequence[Source], starts: Sequence[int], later: Later, tally: Tally) -> None:
    """Count each row that bears another's id as faulty, and its images no more."""
    if not len(later):
        return
    for start, checked in checked_blocks(sources, starts, _SCAN_ROWS):
        own_ids, images = ids.given_ids(checked), checked.columns.get("num_images_per_prompt")
        for row, (_, first) in later.within(start, start + len(checked)).items():
            own = own_ids[row - start]
            if own is not None and row - start not in checked.faults:
                given = None if images is None else images[row - start].as_py()
                _report_duplicate(sources, starts, row, duplicate(own, first), given, tally)


def _report_duplicate(
    sources: Sequence[Source], starts: Sequence[int], row: int, fault: Fault, images: int | None, tally: Tally
) -> None:
    index = bisect_right(starts, row) - 1
    place = f" (row {row - starts[index]} of this file)" if index else ""
    tally.report(sources[index].name, fault, row, place)
    tally.num_faulty += 1
    tally.num_images_given -= images or 0
    tally.num_rows_without -= images is None
