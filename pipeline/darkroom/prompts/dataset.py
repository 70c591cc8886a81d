"""A prompt dataset: sources joined end to end, scanned once, read in blocks of rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from pathlib import Path
from typing import Literal, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.records import ROW_COLUMNS, PromptRow
from darkroom.prompts.checks import CheckedBlock
from darkroom.prompts.chosen import selected
from darkroom.prompts.columns import OVERRIDES, READ, ColumnMapping, extra_names, nearly_read
from darkroom.prompts.extras import is_json_text
from darkroom.prompts.ids import final_ids
from darkroom.prompts.scan import Problem, Scanned, checked_block, rows_digest, scan_indexed, scan_sources
from darkroom.prompts.selection import Selection
from darkroom.prompts.sources import Source, SourceBlock
from darkroom.prompts.template import TemplateSource
from darkroom.storage.named_files import held_name
from darkroom.storage.store import prefetched

BLOCK_ROWS = 8192
_WRITTEN_ROWS = 65_536  # in a row group
_TOKENIZED_ROWS = 1024  # at once
_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
READ_FIELDS = [pa.field(name, _ARROW[ROW_COLUMNS.get(name, str)]) for name in READ]  # of a file that is written

_FILE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

OnInvalid = Literal["fail", "record"]
RECORD: OnInvalid = "record"


@dataclass(frozen=True)
class PromptBlock:
    """A contiguous run of rows."""

    start: int  # dataset row of the first
    rows: list[PromptRow]
    extras: pa.Table  # the columns that Darkroom does not read: same length, same schema in every block; where there
    # are none, a table without columns, of which Arrow does not keep the length


@dataclass(frozen=True)
class PromptScan:
    """What a full check of a dataset found."""

    num_rows: int
    num_images: int  # over valid rows: their own num_images_per_prompt, or the run's
    num_invalid: int  # rows that become failed records; 0 unless on_invalid is "record"
    fingerprint: str  # digest of the content: SHA-256 of files' bytes in order, wherever they lie
    older_fingerprint: str  # the same by a version that knew none of LATER_COLUMNS, and so of no choice to leave them
    extras_schema: pa.Schema
    max_prompt_chars: int
    num_repeats: int  # rows without an id whose content an earlier row has
    num_overriding: Mapping[str, int]  # setting -> valid rows with a value of their own, where there are any
    warnings: tuple[str, ...]
    loras: tuple[str, ...] = ()  # that valid rows name
    highest: Mapping[str, float] = field(default_factory=dict)  # of settings that are numbers, in valid rows
    num_marked: int = 0  # prompts with weights or LoRAs in them, as prompt_syntax=a1111 reads them
    rows: str = ""  # digest of what all rows say, in order
    has_given_ids: bool = False  # whether some row has one: then its id does not tell what it says
    held: tuple[str, ...] = ()  # settings whose pictures some rows hold as files

    @property
    def overriding(self) -> str:
        """For people: how many rows override which of the run's settings; empty where none does."""
        return ", ".join(f"{name} ({count:,})" for name, count in self.num_overriding.items())


class PromptDataset(Protocol):
    @property
    def on_invalid(self) -> OnInvalid:
        """Whether invalid rows are refused, or recorded as failed ones."""
        ...

    def scan(self, num_images_per_prompt: int) -> PromptScan:
        """Check every row; DarkroomError names the first kind of trouble, with row numbers, in one line."""
        ...

    def blocks(self, start: int = 0, block_rows: int = BLOCK_ROWS) -> Iterator[PromptBlock]:
        """Rows from dataset row `start` on, in flat memory; whole row groups and files before it are not read."""
        ...

    def rows_digest(self, count: int) -> str:
        """Of the first `count` rows, as a scan's `rows` is of all; a pass of its own over these."""
        ...

    def etag_fingerprints(self) -> Mapping[str, str]:
        """A scan's fingerprint -> what it was to a version that knew objects in S3 by their ETags; else nothing."""
        ...


@dataclass(frozen=True)
class SourceDataset:
    """Rows of all sources in order. They are scanned once, when that is first needed."""

    name: str
    sources: Sequence[Source]
    on_invalid: OnInvalid = "fail"
    mapping: ColumnMapping = field(default_factory=ColumnMapping)
    partitions: Sequence[Mapping[str, str | None]] = ()  # settings in the names of the sources' folders
    warnings: tuple[str, ...] = ()  # of what was found before any file was opened
    selection: Selection = field(default_factory=Selection)  # that chose the sources' rows
    groups: Sequence[str] = ()  # of each source, where there are several addresses: the one that it is of
    by_etag: Sequence[Source] = ()  # the same sources, as a version knew them that took ETags for their content

    def scan(self, num_images_per_prompt: int) -> PromptScan:
        scanned = self._scanned
        counts = scanned.counts
        return PromptScan(
            num_rows=scanned.num_rows,
            num_images=counts.num_images_given + counts.num_rows_without * num_images_per_prompt,
            num_invalid=counts.num_faulty,
            fingerprint=self._fingerprint_with(self.mapping.columns),
            older_fingerprint=self._fingerprint_with(self.mapping.known_before),
            extras_schema=self._extras_schema,
            max_prompt_chars=counts.max_prompt_chars,
            num_repeats=len(scanned.repeats),
            num_overriding={name: count for name, count in counts.num_overriding.items() if count},
            warnings=tuple(self._warnings()),
            loras=tuple(sorted(counts.loras)),
            highest=counts.highest,
            num_marked=counts.num_marked,
            rows=counts.rows.text if counts.rows else "",
            has_given_ids=counts.num_given_ids > 0,
            held=tuple(sorted(counts.held)),
        )

    def blocks(self, start: int = 0, block_rows: int = BLOCK_ROWS) -> Iterator[PromptBlock]:
        scanned = self._scanned
        for source, first, stop in zip(self.sources, scanned.first_rows, scanned.first_rows[1:], strict=False):
            if stop <= start:
                continue
            source.check_unchanged()
            for block in source.read(max(start - first, 0), block_rows, scanned.extras):
                yield self._block(first + block.start, block)
            source.check_unchanged()

    def rows_digest(self, count: int) -> str:
        return rows_digest(self.sources, self._scanned, count)

    def etag_fingerprints(self) -> Mapping[str, str]:
        contents = [source.content_digest() for source in self.by_etag]
        each = (self.mapping.columns, self.mapping.known_before) if contents else ()
        return {self._fingerprint_with(columns): self._fingerprint_with(columns, contents) for columns in each}

    def _fingerprint_with(self, columns: Mapping[str, str | None], contents: Sequence[str] | None = None) -> str:
        options: dict[str, object] = {"columns": dict(columns)} if columns else {}
        options |= {"partitions": list(map(dict, self.partitions))} if any(self.partitions) else {}
        options |= {"rows": self.selection.said} if self.selection.said else {}
        known = self._contents if contents is None else contents
        return digest("prompts", known, *([options] if options else []), length=64)

    @cached_property
    def _contents(self) -> list[str]:
        contents = list(prefetched(self.sources, lambda source: source.content_digest()))
        for source in self.sources:
            source.check_unchanged()  # what was scanned is what was digested
        return contents

    @cached_property
    def _scanned(self) -> Scanned:
        only = self.sources[0] if len(self.sources) == 1 else None
        if isinstance(only, TemplateSource) and only.indexed:
            return scan_indexed(only)
        scanned = scan_sources(self.sources, self.mapping.columns.get("prompt"))
        if not scanned.num_rows:
            raise DarkroomError(f"{self.name}: no rows; a run needs at least one prompt")
        for name, column in self.mapping.columns.items():
            if column is not None and name not in scanned.counts.seen:
                raise DarkroomError(f"{self.name}: no row has {column!r}, and prompts.columns.{name} names it")
        problems = list(scanned.counts.problems.values())
        if problems and self.on_invalid == "fail":
            raise DarkroomError(_refusal([self._named(problem) for problem in problems]))
        return scanned

    def _named(self, problem: Problem) -> Problem:
        """With the column that the user has, where it is read as another."""
        column = self.mapping.columns.get(problem.fault.column) or problem.fault.column
        return replace(problem, fault=replace(problem.fault, column=column))

    @cached_property
    def _extras_schema(self) -> pa.Schema:
        names = extra_names(self._scanned.extras.names)
        return pa.schema([field.with_name(names[field.name]) for field in self._scanned.extras])

    def _block(self, start: int, block: SourceBlock) -> PromptBlock:
        checked, extras = checked_block(block, self._scanned.extras)
        names = final_ids(start, checked, self._scanned.repeats, self._scanned.clashes)
        return PromptBlock(start, list(_rows(start, checked, names)), extras.rename_columns(self._extras_schema.names))

    def _warnings(self) -> Iterator[str]:
        yield from self.warnings
        for name, called in extra_names(self._scanned.extras.names).items():
            near = nearly_read(name)
            if near and near not in self.mapping.columns:
                yield (
                    f"{self.name}: column {name!r} is not read as {near!r}, but carried as {called!r}; rename it, or "
                    f"set prompts.columns.{near} to its name"
                )
            elif name != called:
                yield f"{self.name}: column {name!r} is carried as {called!r}, since records have one of that name"
        for each in self._extras_schema:
            if is_json_text(each):
                yield (
                    f"{self.name}: column {each.name!r} holds values of several types, and is carried as JSON text, "
                    "in which texts are quoted; make it one type"
                )
        if flagged := self._scanned.counts.num_flagged:
            yield (
                f"{self.name}: {flagged} prompts begin with # or hold flags such as --steps; they are rendered as they "
                "are written; prompts.format=a1111 reads such lines of a file"
            )


def with_rows(dataset: PromptDataset, selection: Selection) -> PromptDataset:
    """The dataset with those of its rows that are chosen. Raises DarkroomError for what is no condition of a row."""
    if not selection.said:
        return dataset
    assert isinstance(dataset, SourceDataset)
    if selection.weights and len(set(dataset.groups)) < 2:
        raise DarkroomError(
            f"prompts.weights={list(selection.weights)}: is for several files or folders; give prompts.uri=[a,b], or "
            "leave it out"
        )
    sources, by_etag = (
        selected(each, selection, dataset.mapping, dataset.name, dataset.groups) if each else ()
        for each in (dataset.sources, dataset.by_etag)
    )
    return replace(dataset, sources=sources, selection=selection, by_etag=by_etag)


@dataclass(frozen=True)
class LongPrompts:
    """Prompts past the limit among those that were checked, which may be fewer than there are."""

    num_checked: int
    num_long: int
    num_rows: int
    limit: int  # tokens


def count_long_prompts(
    dataset: PromptDataset,
    count_tokens: Callable[[list[str]], list[int]],
    limit: int,
    max_rows: int = 100_000,
    text_of: Callable[[PromptRow], str] = attrgetter("prompt"),
) -> LongPrompts:
    """Count prompts of more than `limit` tokens among the first `max_rows` rows; `text_of`: what of a valid row is
    encoded."""
    num_checked = num_long = 0
    for block in dataset.blocks(block_rows=min(_TOKENIZED_ROWS, max_rows)):
        rows = block.rows[: max_rows - num_checked]
        prompts = [row.prompt if row.error else text_of(row) for row in rows]
        num_long += sum(length > limit for length in count_tokens(prompts))
        num_checked += len(prompts)
        if num_checked >= max_rows:
            break
    return LongPrompts(num_checked, num_long, dataset.scan(1).num_rows, limit)


def write_parquet(dataset: PromptDataset, path: str | Path) -> int:
    """Write the rows, their ids and extra columns, so that they read back as the same; the number of rows.

    The file appears whole or not at all. Raises DarkroomError where rows are invalid, and would be lost.
    """
    scan = dataset.scan(1)
    if scan.num_invalid:
        raise DarkroomError(f"{path}: {scan.num_invalid} rows are invalid and would be lost; mend or drop them first")
    fields = [field.with_type(_FILE) if field.name in scan.held else field for field in READ_FIELDS]
    schema = pa.schema([*fields, *scan.extras_schema])
    part = Path(f"{path}.part")
    with pq.ParquetWriter(part, schema) as writer:
        for block in dataset.blocks(block_rows=_WRITTEN_ROWS):
            writer.write_table(pa.table([*columns_of(block.rows, fields), *block.extras.columns], schema=schema))
    part.replace(path)
    return scan.num_rows


def columns_of(rows: Sequence[PromptRow], fields: Sequence[pa.Field] = READ_FIELDS) -> list[pa.Array]:
    """What rows say, in the columns of `fields`; null where a row does not say it."""
    given = [{"prompt": row.prompt, "prompt_id": row.prompt_id, **dict(row.overrides)} for row in rows]
    return [
        pa.array([_cell(field, each.get(field.name), row) for each, row in zip(given, rows, strict=True)], field.type)
        for field in fields
    ]


def _cell(field: pa.Field, value: object, row: PromptRow) -> object:
    """A picture as `datasets` has it, where the column holds files."""
    if field.type != _FILE or value is None:
        return value
    data = dict(row.files).get(str(value))
    return {"bytes": data, "path": None if data else value}


def _rows(start: int, checked: CheckedBlock, names: Sequence[str]) -> Iterator[PromptRow]:
    prompts = checked.columns["prompt"].to_pylist()
    given = [column for column in OVERRIDES if column in checked.columns]
    columns = [checked.columns[column].to_pylist() for column in given]
    for position, (prompt, name, *values) in enumerate(zip(prompts, names, *columns, strict=True)):
        fault = checked.faults.get(position)
        overrides = tuple((column, value) for column, value in zip(given, values, strict=True) if value is not None)
        held = [each[position] for each in checked.files.values()]
        files = tuple((held_name(data), data) for data in held if data is not None)
        yield PromptRow(start + position, name, prompt or "", overrides, str(fault) if fault else None, files)


def _refusal(problems: Sequence[Problem]) -> str:
    others = len(problems) - 1
    more = f"; {others} more kind{'s' if others > 1 else ''} of trouble after it" if others else ""
    return f"{problems[0]}{more}; mend or drop them, or set prompts.on_invalid=record to keep them as failed records"
