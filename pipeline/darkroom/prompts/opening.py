"""The front door of prompts: datasets from files, from memory and from templates.

It runs where a command is given, before any model is loaded.
"""

import os
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath
from typing import Any
from urllib.parse import unquote

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.columns import READ, ColumnMapping, column_mapping
from darkroom.prompts.dataset import OnInvalid, PromptDataset, SourceDataset
from darkroom.prompts.delimited import DelimitedSource
from darkroom.prompts.lines import JsonlSource, LinesSource
from darkroom.prompts.memory import memory_source, memory_warnings
from darkroom.prompts.sources import ParquetSource, Source, SourceBlock
from darkroom.prompts.template import Mode, template_source
from darkroom.storage.input_files import InputFile
from darkroom.storage.scanning import Kinds, Place, Scan, fixed_part, locate, scan

_READERS: dict[str, Callable[[InputFile, ColumnMapping], Source]] = {
    ".parquet": ParquetSource,
    ".csv": lambda file, mapping: DelimitedSource(file, ",", mapping),
    ".tsv": lambda file, mapping: DelimitedSource(file, "\t", mapping),
    ".jsonl": JsonlSource,
    ".txt": lambda file, _mapping: LinesSource(file),
}
_NEEDED = f"one of {' '.join(sorted(_READERS))} (or one of these and .gz)"
_LINES = ".txt"
_NOTES = re.compile(
    r"(read[-_ ]?me|licen[cs]e|copying|requirements)([-_. ].*)?|notice|authors|contributors|citation|change[-_ ]?log|"
    r"notes?|todo",
    re.IGNORECASE,
)
_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"

Partition = Mapping[str, str | None]  # what the folders of a file say, as in `lang=en/`


def open_prompts(
    source: str | os.PathLike[str] | Any,
    on_invalid: OnInvalid = "fail",
    endpoint_url: str | None = None,
    columns: Mapping[str, str | None] | None = None,
    name: str = "prompts",
) -> PromptDataset:
    """Prompts of a file, a folder, a glob or an s3:// address, format by ending; several files are read in order.

    Or of what is in memory, called `name` in errors: a list or an iterator of texts or dicts, a pandas DataFrame, an
    Arrow table or whatever gives itself as one. `columns` says which column a name is read from where it is not the
    one of that name; None: from no column. Raises DarkroomError, in one line, for what cannot be read.
    """
    if on_invalid not in ("fail", "record"):
        raise DarkroomError(f"prompts.on_invalid={on_invalid}: needed fail or record")
    mapping = column_mapping(columns or {})
    if not isinstance(source, str | os.PathLike):
        left_out = tuple(memory_warnings(source, name))
        return SourceDataset(name, [memory_source(source, name, mapping)], on_invalid, mapping, warnings=left_out)
    uri = os.fspath(source)
    if not uri:
        raise DarkroomError("prompts.uri is not set; give a file, a folder, a glob or an s3:// address")
    place = locate(uri, endpoint_url, "prompts.uri", "prompts.endpoint_url")
    found = _found(place)
    partitions = [_partition(file.path[len(found.base) :]) for file in found.files]
    sources = [_source(file, mapping, each, found) for file, each in zip(found.files, partitions, strict=True)]
    settings = [{name: value for name, value in each.items() if name in READ} for each in partitions]
    return SourceDataset(uri, sources, on_invalid, mapping, settings, tuple(_warnings(place, found)))


def template_prompts(
    pattern: str, slots: Mapping[str, Any], mode: Mode, num_prompts: int | None, seed: int, indexed: bool = False
) -> PromptDataset:
    """Prompts of a pattern such as "a {colour} {shape}"; the slots' values become extra columns."""
    source = template_source(pattern, slots, mode, num_prompts, seed, indexed)
    return SourceDataset(source.name, [source])


@dataclass(frozen=True)
class PartitionedSource:
    """A source whose file's folders say columns, as in `lang=en/`: the same cells in every row, as text.

    A column that the file has itself stays its own.
    """

    source: Source
    partition: Partition

    @property
    def name(self) -> str:
        return self.source.name

    def schema(self) -> pa.Schema | None:
        return self._schema

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        wanted = set(self.partition)
        if types is not None or self._schema is not None:
            wanted &= {*READ, *(types.names if types is not None else ())}
        for block in self.source.read(start, block_rows, types):
            yield replace(block, table=self._with_partition(block.table, wanted))

    def check_unchanged(self) -> None:
        self.source.check_unchanged()

    def content_digest(self) -> str:
        return self.source.content_digest()

    @cached_property
    def _schema(self) -> pa.Schema | None:
        schema = self.source.schema()
        for name in self.partition:
            if schema is not None and name not in schema.names:
                schema = schema.append(pa.field(name, pa.string()))
        return schema

    def _with_partition(self, table: pa.Table, wanted: set[str]) -> pa.Table:
        for name, value in self.partition.items():
            if name in wanted and name not in table.column_names:
                table = table.append_column(name, pa.repeat(pa.scalar(value, pa.string()), len(table)))
        return table


@dataclass(frozen=True)
class EmptySource:
    """A file of no bytes among others, as Spark writes for a part without rows."""

    file: InputFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> None:
        """It has no columns."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        return iter(())

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return self.file.content_digest()


def _found(place: Place) -> Scan:
    """Prompt files at an address, at least one."""
    kinds = Kinds(
        frozenset(_READERS),
        "prompt files",
        unpacks=True,
        hidden="._",  # first characters of programs' markers and notes
        has_etags=True,
        exclude=notes,
        exclude_reason="text beside tables, or notes by their names; name a file itself to have it read",
    )
    found = scan(place, kinds)
    if not found.files:
        left_out = "".join(f"; {sentence}" for sentence in found.left_out)
        raise DarkroomError(
            f"prompts.uri={place.uri}: no such file, or nothing there to read{left_out}; needed {_NEEDED}"
        )
    for file in found.files:
        if file.ending not in _READERS:
            raise DarkroomError(f"{file.name}: ending {file.ending!r} is not that of a prompt file; needed {_NEEDED}")
    return found


def notes(files: Sequence[InputFile]) -> list[InputFile]:
    """Files of lines that are no prompts: all of them beside tables, else those of such a name as README.txt."""
    texts = [file for file in files if file.ending == _LINES]
    return texts if len(texts) < len(files) else [file for file in texts if _NOTES.fullmatch(PurePath(file.path).stem)]


def _source(file: InputFile, mapping: ColumnMapping, partition: Partition, found: Scan) -> Source:
    if file.is_empty and not all(each.is_empty for each in found.files):
        return EmptySource(file)
    if file.ending == _LINES and mapping.columns:
        raise DarkroomError(
            f"{file.name}: prompts.columns says how columns are read, and lines have none; leave it out"
        )
    source = _READERS[file.ending](file, mapping)
    named = {mapping.renamed_outside(name): value for name, value in partition.items()}
    return PartitionedSource(source, named) if named else source


def _partition(path: str) -> dict[str, str | None]:
    """What the folders of a path say, as Hive, Spark, DuckDB and Arrow name them."""
    pairs = [folder.partition("=") for folder in path.split("/")[:-1]]
    return {
        unquote(name): None if value == _NO_VALUE else unquote(value)
        for name, equals, value in pairs
        if name and equals
    }


def _warnings(place: Place, found: Scan) -> Iterator[str]:
    yield from (f"{place.uri}: {sentence}" for sentence in found.left_out)
    counts = sorted(Counter(file.ending for file in found.files).items())
    if len(counts) > 1:  # often the same rows, written twice
        kinds = " and ".join(f"{count} {ending}" for ending, count in counts)
        folder = place.uri.rstrip("/") if found.base == place.path else fixed_part(place.uri)
        one_kind = shlex.quote(f"prompts.uri={folder or '.'}/**/*{counts[0][0]}")
        yield f"{place.uri}: {kinds} are read together; if they hold the same rows, give one kind as {one_kind}"
