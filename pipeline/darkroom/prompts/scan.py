"""The scan of every row of a dataset's sources: what is at fault, what is repeated, which extra columns there are.

Memory is flat, however many rows there are. All headers are checked before any row.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ROW_SETTINGS
from darkroom.prompts.checks import CheckedBlock, check
from darkroom.prompts.columns import OVERRIDES, READ
from darkroom.prompts.extras import carried_field, concrete, extra_columns, unify
from darkroom.prompts.ids import RowsDigest, clashing, duplicate, final_ids, given_ids, name_keys, row_keys
from darkroom.prompts.repeats import RepeatedRows, RepeatFinder
from darkroom.prompts.sources import Fault, Source, SourceBlock
from darkroom.prompts.template import TemplateSource

_SCAN_ROWS = 16_384
_NUMBERS = {each.name for each in ROW_SETTINGS if each.kind in (int, float)}
_DIGEST = r"^[0-9a-f]{32}$"  # the form of the ids that we give
_FLAG = r"(^|\s)--[a-z]"  # as in --steps 10
_MARK = r"\([^()]*:\s*[0-9.]+\s*\)|<lora:"  # as in (word:1.2) and <lora:name:1>

Typed = Sequence[tuple[Source, pa.Schema | None]]  # with the types of its extra columns; None: known by rows alone


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
        needed = f", needed {self.fault.needed}" if self.fault.needed else ""
        value = f": {self.fault.value}" if self.fault.value else ""
        return f"{self.source}: {what}{needed}, first at row {self.row}{self.place}{value}"


@dataclass
class Counts:
    """Counts that grow block by block."""

    num_faulty: int = 0
    num_images_given: int = 0  # over valid rows with a number of their own
    num_rows_without: int = 0  # valid rows without one
    num_given_ids: int = 0
    num_digest_ids: int = 0  # of these, in the form of the ids that we give
    max_prompt_chars: int = 0
    num_overriding: dict[str, int] = field(default_factory=dict)  # setting -> valid rows with a value of their own
    loras: set[str] = field(default_factory=set)  # that valid rows name
    highest: dict[str, float] = field(default_factory=dict)  # of settings that are numbers, in valid rows
    num_flagged: int = 0  # prompts with a comment's or a command's signs in them
    num_marked: int = 0  # prompts with weights of words or names of LoRAs in them
    seen: set[str] = field(default_factory=set)  # names of READ that some source has
    held: set[str] = field(default_factory=set)  # names of READ of which some source has files
    rows: RowsDigest | None = field(default_factory=RowsDigest)  # None: not all of them are read
    problems: dict[tuple[str, str, str], Problem] = field(default_factory=dict)

    def add(self, checked: CheckedBlock) -> None:
        prompts = checked.columns["prompt"]
        if self.rows is not None:
            self.rows.add(checked)
        self.seen.update(checked.columns)
        self.held.update(checked.files)
        self.num_faulty += len(checked.faults)
        self.max_prompt_chars = max(self.max_prompt_chars, pc.max(pc.utf8_length(prompts)).as_py() or 0)
        self.num_flagged += _num_flagged(prompts)
        self.num_marked += _num_matching(prompts.filter(pc.match_substring(prompts, ":")), _MARK)
        if "prompt_id" in checked.columns:
            ids = checked.columns["prompt_id"]
            self.num_given_ids += len(ids) - ids.null_count
            self.num_digest_ids += pc.sum(pc.match_substring_regex(ids, _DIGEST)).as_py() or 0
        valid = {name: _valid(checked, checked.columns[name]) for name in OVERRIDES if name in checked.columns}
        for name, cells in valid.items():
            self.num_overriding[name] = self.num_overriding.get(name, 0) + len(cells) - cells.null_count
        if "lora" in valid:
            self.loras.update(filter(None, pc.unique(valid["lora"]).to_pylist()))
        for name in valid.keys() & _NUMBERS:
            self.highest[name] = max(self.highest.get(name, 0), pc.max(valid[name]).as_py() or 0)
        images = valid.get("num_images_per_prompt", pa.nulls(len(checked) - len(checked.faults), pa.int64()))
        self.num_images_given += pc.sum(images).as_py() or 0
        self.num_rows_without += images.null_count

    def report(self, source: str, fault: Fault, row: int, place: str) -> None:
        known = self.problems.setdefault((source, fault.column, fault.kind), Problem(source, fault, row, place))
        known.count += 1


def _valid(checked: CheckedBlock, cells: pa.Array) -> pa.Array:
    """Those of rows without a fault."""
    if not checked.faults:
        return cells
    return cells.take(pa.array([row for row in range(len(checked)) if row not in checked.faults], pa.int64()))


def _num_flagged(prompts: pa.Array) -> int:
    comments = pc.sum(pc.starts_with(prompts, "#")).as_py() or 0
    dashed = prompts.filter(pc.match_substring(prompts, "--"))  # cheap, and seldom true
    return comments + _num_matching(dashed, _FLAG)


def _num_matching(prompts: pa.Array, pattern: str) -> int:
    return pc.sum(pc.match_substring_regex(prompts, pattern)).as_py() or 0


@dataclass(frozen=True)
class Scanned:
    """What is known of a dataset once every row was read."""

    first_rows: tuple[int, ...]  # dataset row of each source's first row, and the number of rows
    extras: pa.Schema  # by the sources' own names
    repeats: RepeatedRows  # rows of one id, or without an id and of one content
    clashes: RepeatedRows  # rows whose given id is also the digest of a row without one
    counts: Counts

    @property
    def num_rows(self) -> int:
        return self.first_rows[-1]


def scan_sources(sources: Sequence[Source], prompt: str | None = None) -> Scanned:
    """Read every row of the sources, joined end to end. Raises DarkroomError for columns that cannot be read.

    `prompt`: what the column of prompts is called, where a command says so.
    """
    schemas = [source.schema() for source in sources]
    known = _known_extras(sources, schemas)
    typed = [(source, _types_of(schema, known)) for source, schema in zip(sources, schemas, strict=True)]
    counts, finder = Counts(), RepeatFinder()
    sizes: list[int] = []
    found = pa.schema([])  # extra columns that are known by rows alone
    for source, types in typed:
        size, new, has_prompt = _scan_source(source, types, sum(sizes), counts, finder)
        if size and not has_prompt:
            raise DarkroomError(_without_prompt(source.name, prompt))
        found = unify(source.name, found, new, loose=True)
        sizes.append(size)
    extras = _joined(typed, known, found)
    first_rows = tuple(accumulate(sizes, initial=0))
    repeats, clashes = RepeatedRows(first_rows[-1]), RepeatedRows(first_rows[-1])
    for repeated in finder.repeated():
        repeats.add(repeated)
    if counts.num_given_ids:
        _report_duplicates(typed, first_rows, repeats, counts)
    if counts.num_digest_ids and counts.num_given_ids < first_rows[-1]:
        _find_clashes(typed, first_rows, repeats, clashes)
        _report_duplicates(typed, first_rows, clashes, counts)
    return Scanned(first_rows, extras, repeats, clashes, counts)


def scan_indexed(source: TemplateSource) -> Scanned:
    """Of a template whose rows are sound and have ids that differ: of these, the first ones alone are read."""
    counts, num_rows = Counts(rows=None), source.num_prompts
    extras = pa.schema([each for each in source.schema() if each.name not in READ])
    counts.add(checked_block(next(source.read(0, _SCAN_ROWS, extras)), extras)[0])
    counts.num_rows_without = counts.num_given_ids = num_rows
    counts.num_digest_ids = 0
    counts.max_prompt_chars = source.max_prompt_chars
    return Scanned((0, num_rows), extras, RepeatedRows(num_rows), RepeatedRows(num_rows), counts)


def rows_digest(sources: Sequence[Source], scanned: Scanned, count: int) -> str:
    """Of the first `count` rows, as `Counts.rows` is of all."""
    found = RowsDigest()
    typed = [(source, None if source.schema() is None else pa.schema([])) for source in sources]
    for start, _, checked in _checked_blocks(typed, scanned.first_rows):
        if start >= count:
            break
        found.add(checked, count - start)
    return found.text


def checked_block(block: SourceBlock, types: pa.Schema | None) -> tuple[CheckedBlock, pa.Table]:
    """A block's read columns and its extra ones; the faults are those of both."""
    checked = check(block.table, block.faults)
    return checked, extra_columns(block.table, types or pa.schema([]), checked.faults)


def _checked_blocks(typed: Typed, first_rows: Sequence[int]) -> Iterator[tuple[int, SourceBlock, CheckedBlock]]:
    """Every block of the dataset with its dataset row, as it was read and checked."""
    for (source, types), start in zip(typed, first_rows, strict=False):
        for block in source.read(0, _SCAN_ROWS, types):
            yield start + block.start, block, checked_block(block, types)[0]


def _scan_source(
    source: Source, types: pa.Schema | None, start: int, counts: Counts, finder: RepeatFinder
) -> tuple[int, pa.Schema, bool]:
    """Count one source's rows; its size, the extra columns that were not known before, and whether it has prompts."""
    size, found, has_prompt = 0, pa.schema([]), types is not None
    for block in source.read(0, _SCAN_ROWS, types):
        checked, _ = checked_block(block, types)
        finder.add(row_keys(start + block.start, checked))
        counts.add(checked)
        for position, fault in checked.faults.items():
            row = block.start + position
            place = _place(block, position, start)
            counts.report(source.name, fault, start + row, place)
        if types is None:
            found = unify(source.name, found, _extras_of(source.name, block.table.schema), loose=True)
            has_prompt |= bool(block.faults) or block.table.schema.field("prompt").type != pa.null()
        size += len(checked)
    source.check_unchanged()
    return size, found, has_prompt


def _place(block: SourceBlock, position: int, start: int) -> str:
    """Of a row, beside its number in the dataset; `start`: the dataset row of its source's first."""
    return f" ({block.origin(position)})" if block.lines or block.called or start else ""


def _without_prompt(source: str, prompt: str | None) -> str:
    if prompt is not None:
        return f"{source}: no row has {prompt!r}, and prompts.columns.prompt names it"
    return (
        f"{source}: no row has a 'prompt'; rename the key that holds the prompts, or set prompts.columns.prompt to its "
        "name"
    )


# Extra columns -----------------------------------------------------------------------------------------------------


def _known_extras(sources: Sequence[Source], schemas: Sequence[pa.Schema | None]) -> pa.Schema:
    extras = pa.schema([])
    for source, schema in zip(sources, schemas, strict=True):
        extras = unify(source.name, extras, _extras_of(source.name, schema or pa.schema([])))
    return extras


def _extras_of(source: str, schema: pa.Schema) -> pa.Schema:
    return pa.schema([carried_field(source, each) for each in schema if each.name not in READ])


def _types_of(schema: pa.Schema | None, known: pa.Schema) -> pa.Schema | None:
    return None if schema is None else pa.schema([concrete(each) for each in known if each.name in schema.names])


def _joined(typed: Typed, known: pa.Schema, found: pa.Schema) -> pa.Schema:
    """What headers and rows together tell of the extra columns. Cells that were checked in another type still fit."""
    if not known.names:
        return pa.schema([concrete(each) for each in found])
    joined = pa.schema([concrete(each) for each in unify("lines of JSON", known, found)])
    changed = pa.schema(
        [joined.field(each.name) for each in known if concrete(each).type != joined.field(each.name).type]
    )
    for source, types in typed if changed.names else ():
        for block in () if types is None else source.read(0, _SCAN_ROWS, changed):
            faults: dict[int, Fault] = {}
            extra_columns(block.table, changed, faults)
            for fault in faults.values():
                raise DarkroomError(
                    f"{source.name}: column {fault.column!r} does not fit the type that lines of JSON give it "
                    f"({fault.kind}: {fault.value}); make them one type, or drop the column"
                )
    return joined


# Ids that are not a row's alone --------------------------------------------------------------------------------------


def _find_clashes(typed: Typed, first_rows: Sequence[int], repeats: RepeatedRows, clashes: RepeatedRows) -> None:
    """Given ids that are also another row's digest: possible once ids are exported and mixed with rows without."""
    finder, none = RepeatFinder(), RepeatedRows(0)
    for start, _, checked in _checked_blocks(typed, first_rows):
        ids = given_ids(checked)
        finder.add(name_keys(start, final_ids(start, checked, repeats, none), ids))
    for repeated in finder.repeated():
        clashes.add(clashing(repeated))


def _report_duplicates(typed: Typed, first_rows: Sequence[int], repeated: RepeatedRows, counts: Counts) -> None:
    """Count each row that bears another's id as faulty, and its images no more."""
    for start, block, checked in _checked_blocks(typed, first_rows) if len(repeated) else ():
        ids, images = given_ids(checked), checked.columns.get("num_images_per_prompt")
        for row, (_, first) in repeated.within(start, start + len(checked)).items():
            position = row - start
            given = ids[position]
            if given is None or position in checked.faults:
                continue
            index = bisect_right(first_rows, row) - 1
            place = _place(block, position, first_rows[index])
            counts.report(typed[index][0].name, duplicate(given, first), row, place)
            num_images = None if images is None else images[position].as_py()
            counts.num_faulty += 1
            counts.num_images_given -= num_images or 0
            counts.num_rows_without -= num_images is None
            for name in counts.num_overriding.keys() & checked.columns.keys():
                counts.num_overriding[name] -= checked.columns[name][position].is_valid
