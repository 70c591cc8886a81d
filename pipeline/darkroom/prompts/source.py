"""The front door of prompts: datasets from files, templates and tables.

Knows which ending means which reader. Runs on the driver, before any model is loaded; knows no model and no run.
"""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.blocks import BLOCK_ROWS, PromptBlock, PromptDataset, PromptScan
from darkroom.prompts.columns import READ, Reading, reading
from darkroom.prompts.dataset import OnInvalid, SourceDataset
from darkroom.prompts.delimited import DelimitedSource
from darkroom.prompts.files import PromptFile
from darkroom.prompts.finding import Found, find_files
from darkroom.prompts.jsonl import JsonlSource
from darkroom.prompts.lengths import LongPrompts, count_long_prompts
from darkroom.prompts.partitions import EmptySource, PartitionedSource
from darkroom.prompts.raw import Source
from darkroom.prompts.tables import ParquetSource, TableSource
from darkroom.prompts.template import Mode, template_source
from darkroom.prompts.texts import LinesSource
from darkroom.prompts.writing import write_parquet

__all__ = [
    "BLOCK_ROWS",
    "LongPrompts",
    "PromptBlock",
    "PromptDataset",
    "PromptScan",
    "count_long_prompts",
    "open_prompts",
    "table_prompts",
    "template_prompts",
    "write_parquet",
]

_READERS: dict[str, Callable[[PromptFile, Reading], Source]] = {
    ".parquet": ParquetSource,
    ".csv": lambda file, reading: DelimitedSource(file, ",", reading),
    ".tsv": lambda file, reading: DelimitedSource(file, "\t", reading),
    ".jsonl": JsonlSource,
    ".txt": lambda file, _reading: LinesSource(file),
}


def open_prompts(
    uri: str,
    on_invalid: OnInvalid = "fail",
    endpoint_url: str | None = None,
    columns: Mapping[str, str | None] | None = None,
) -> PromptDataset:
    """Prompts of a file, a folder, a glob or an s3:// address, format by ending; several files are read in order.

    `columns` says which column a name is read from where it is not the one of that name; None: from no column.
    """
    if on_invalid not in ("fail", "record"):
        raise DarkroomError(f"prompts.on_invalid={on_invalid}: needed fail or record")
    if not uri:
        raise DarkroomError("prompts.uri is not set; give a file, a folder, a glob or an s3:// address")
    asked = reading(columns or {})
    found = find_files(uri, frozenset(_READERS), endpoint_url)
    sources = [_source(file, asked, said, found) for file, said in zip(found.files, found.partitions, strict=True)]
    settings = [{name: value for name, value in said.items() if name in READ} for said in found.partitions]
    return SourceDataset(uri, sources, on_invalid, asked, settings, found.warnings)


def _source(file: PromptFile, asked: Reading, said: Mapping[str, str | None], found: Found) -> Source:
    if file.is_empty and not all(each.is_empty for each in found.files):
        return EmptySource(file)
    if file.ending == ".txt" and asked.given:
        raise DarkroomError(
            f"{file.name}: prompts.columns says how columns are read, and lines have none; leave it out"
        )
    source = _READERS[file.ending](file, asked)
    return (
        PartitionedSource(source, {asked.called_alone(name): value for name, value in said.items()}) if said else source
    )


def template_prompts(
    pattern: str, slots: Mapping[str, Sequence[str]], mode: Mode, num_prompts: int | None, seed: int
) -> PromptDataset:
    """Prompts of a pattern such as "a {colour} {shape}"; the slots' values become extra columns."""
    source = template_source(pattern, slots, mode, num_prompts, seed)
    return SourceDataset(source.name, [source])


def table_prompts(table: pa.Table, name: str) -> PromptDataset:
    """Prompts of a table in memory."""
    return SourceDataset(name, [TableSource(name, table)])
