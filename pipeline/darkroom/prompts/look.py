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

from darkroom.domain.errors import DarkroomError
from darkroom.prompts import ids
from darkroom.prompts.carried import carry, concrete, plain_field, unify
from darkroom.prompts.checks import Checked, check
from darkroom.prompts.columns import OVERRIDES, READ
from darkroom.prompts.faults import RANGES, Fault, shown
from darkroom.prompts.raw import RawBlock, Source
from darkroom.prompts.repeats import LATER, Later, Repeats

_SCAN_ROWS = 16_384
_EXPORTED = r"^[0-9a-f]{32}$"
_FLAG = r"(^|\s)--[a-z]"  # as in --steps 10

Carried = Sequence[tuple[Source, pa.Schema | None]]  # with the extra columns as each is checked; None: by rows alone


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
    num_overriding: dict[str, int] = field(default_factory=dict)  # setting -> valid rows that say it themselves
    num_flagged: int = 0  # prompts with a comment's or a command's signs in them
    seen: set[str] = field(default_factory=set)  # names of READ that some source has
    problems: dict[tuple[str, str, str], Problem] = field(default_factory=dict)

    def add(self, checked: Checked) -> None:
        prompts = checked.columns["prompt"]
        self.seen.update(checked.columns)
        self.num_faulty += len(checked.faults)
        self.max_prompt_chars = max(self.max_prompt_chars, pc.max(pc.utf8_length(prompts)).as_py() or 0)
        self.num_flagged += _num_flagged(prompts)
        if "prompt_id" in checked.columns:
            own = checked.columns["prompt_id"]
            self.num_given_ids += len(own) - own.null_count
            self.num_exported_ids += pc.sum(pc.match_substring_regex(own, _EXPORTED)).as_py() or 0
        valid = {name: _valid(checked, checked.columns[name]) for name in OVERRIDES if name in checked.columns}
        for name, cells in valid.items():
            self.num_overriding[name] = self.num_overriding.get(name, 0) + len(cells) - cells.null_count
        images = valid.get("num_images_per_prompt", pa.nulls(len(checked) - len(checked.faults), pa.int64()))
        self.num_images_given += pc.sum(images).as_py() or 0
        self.num_rows_without += images.null_count

    def report(self, source: str, fault: Fault, row: int, place: str) -> None:
        known = self.problems.setdefault((source, fault.column, fault.kind), Problem(source, fault, row, place))
        known.count += 1


def _valid(checked: Checked, cells: pa.Array) -> pa.Array:
    """Those of rows without a fault."""
    if not checked.faults:
        return cells
    return cells.take(pa.array([row for row in range(len(checked)) if row not in checked.faults], pa.int64()))


def _num_flagged(prompts: pa.Array) -> int:
    comments = pc.sum(pc.starts_with(prompts, "#")).as_py() or 0
    dashed = prompts.filter(pc.match_substring(prompts, "--"))  # cheap, and seldom true
    return comments + (pc.sum(pc.match_substring_regex(dashed, _FLAG)).as_py() or 0)


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
    known = _known_extras(sources, schemas)
    parts = [(source, _carried_of(schema, known)) for source, schema in zip(sources, schemas, strict=True)]
    tally = Tally()
    repeats = Repeats()
    sizes: list[int] = []
    found = pa.schema([])  # by rows alone
    for source, carried in parts:
        size, named = _first_pass(source, carried, sum(sizes), tally, repeats)
        found = unify(source.name, found, named, loose=True)
        sizes.append(size)
    extras = _joined(parts, known, found)
    starts = tuple(accumulate(sizes, initial=0))
    repeated = _collected(repeats, starts)
    if tally.num_given_ids:
        _report_duplicates(parts, starts, repeated, tally)
    clashes = Later(starts[-1])
    if tally.num_exported_ids and tally.num_given_ids < starts[-1]:
        clashes = _clashes(parts, starts, repeated)
        _report_duplicates(parts, starts, clashes, tally)
    return Facts(starts, extras, repeated, clashes, tally)


def checked_blocks(parts: Carried, starts: Sequence[int], block_rows: int) -> Iterator[tuple[int, Checked]]:
    """Every block of the dataset, checked, with its dataset row."""
    for (source, carried), start in zip(parts, starts, strict=False):
        for raw in source.read(0, block_rows, carried):
            yield start + raw.start, checked_block(raw, carried)[0]


def checked_block(raw: RawBlock, carried: pa.Schema | None) -> tuple[Checked, pa.Table]:
    """A block's read columns and its extra ones; the faults are those of both."""
    checked = check(raw.table, raw.faults)
    return checked, carry(raw.table, carried or pa.schema([]), checked.faults)


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
        extras = unify(source.name, extras, _extras_of(source.name, schema or pa.schema([])))
    return extras


def _extras_of(source: str, schema: pa.Schema) -> pa.Schema:
    return pa.schema([plain_field(source, each) for each in schema if each.name not in READ])


def _carried_of(schema: pa.Schema | None, known: pa.Schema) -> pa.Schema | None:
    return None if schema is None else pa.schema([concrete(each) for each in known if each.name in schema.names])


def _joined(parts: Carried, known: pa.Schema, found: pa.Schema) -> pa.Schema:
    """What headers and rows together tell of the extra columns. Cells that were checked in another type still fit."""
    if not known.names:
        return pa.schema([concrete(each) for each in found])
    joined = pa.schema([concrete(each) for each in unify("lines of JSON", known, found)])
    changed = pa.schema(
        [joined.field(each.name) for each in known if concrete(each).type != joined.field(each.name).type]
    )
    for source, carried in parts if changed.names else ():
        for raw in () if carried is None else source.read(0, _SCAN_ROWS, changed):
            faults: dict[int, Fault] = {}
            carry(raw.table, changed, faults)
            for fault in faults.values():
                raise DarkroomError(
                    f"{source.name}: column {fault.column!r} does not fit the type that lines of JSON give it "
                    f"({fault.kind}: {fault.value}); make them one type, or drop the column"
                )
    return joined


def _first_pass(
    source: Source, carried: pa.Schema | None, start: int, tally: Tally, repeats: Repeats
) -> tuple[int, pa.Schema]:
    """Look at one source's rows; its size, and the extra columns that were not known before."""
    size, found, has_prompt = 0, pa.schema([]), False
    for raw in source.read(0, _SCAN_ROWS, carried):
        checked, _ = checked_block(raw, carried)
        repeats.add(ids.row_keys(start + raw.start, checked))
        tally.add(checked)
        for position, fault in checked.faults.items():
            row = raw.start + position
            place = f" (line {raw.lines[position]})" if raw.lines else f" (row {row} of this file)" if start else ""
            tally.report(source.name, fault, start + row, place)
        if carried is None:
            found = unify(source.name, found, _extras_of(source.name, raw.table.schema), loose=True)
            has_prompt |= bool(raw.faults) or raw.table.schema.field("prompt").type != pa.null()
        size += len(checked)
    source.check_unchanged()
    if carried is None and size and not has_prompt:
        raise DarkroomError(f"{source.name}: no row has a 'prompt'; rename the key that holds the prompts")
    return size, found


def _collected(repeats: Repeats, starts: Sequence[int]) -> Later:
    found = Later(starts[-1])
    for later in repeats.later():
        found.add(later)
    return found


def _clashes(parts: Carried, starts: Sequence[int], repeated: Later) -> Later:
    """Given ids that are also what another row is called by what it says: possible once ids are exported and mixed."""
    same, none = Repeats(), Later(0)
    for start, checked in checked_blocks(parts, starts, _SCAN_ROWS):
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


def _report_duplicates(parts: Carried, starts: Sequence[int], later: Later, tally: Tally) -> None:
    """Count each row that bears another's id as faulty, and its images no more."""
    if not len(later):
        return
    for start, checked in checked_blocks(parts, starts, _SCAN_ROWS):
        own_ids, images = ids.given_ids(checked), checked.columns.get("num_images_per_prompt")
        for row, (_, first) in later.within(start, start + len(checked)).items():
            own = own_ids[row - start]
            if own is not None and row - start not in checked.faults:
                given = None if images is None else images[row - start].as_py()
                _report_duplicate(parts, starts, row, duplicate(own, first), given, tally)


def _report_duplicate(
    parts: Carried, starts: Sequence[int], row: int, fault: Fault, images: int | None, tally: Tally
) -> None:
    index = bisect_right(starts, row) - 1
    place = f" (row {row - starts[index]} of this file)" if index else ""
    tally.report(parts[index][0].name, fault, row, place)
    tally.num_faulty += 1
    tally.num_images_given -= images or 0
    tally.num_rows_without -= images is None
