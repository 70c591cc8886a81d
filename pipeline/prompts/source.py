"""The front door of prompts: datasets from files, templates and tables.

Knows which ending means which reader. Runs on the driver, before any model is loaded; knows no model and no run.
"""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from pipeline.domain.errors import DarkroomError
from pipeline.prompts.blocks import BLOCK_ROWS, PromptBlock, PromptDataset, PromptScan
from pipeline.prompts.columns import READ, Reading, reading
from pipeline.prompts.dataset import OnInvalid, SourceDataset
from pipeline.prompts.delimited import DelimitedSource
from pipeline.prompts.files import PromptFile
from pipeline.prompts.finding import Found, find_files
from pipeline.prompts.jsonl import JsonlSource
from pipeline.prompts.lengths import LongPrompts, count_long_prompts
from pipeline.prompts.partitions import EmptySource, PartitionedSource
from pipeline.prompts.raw import Source
from pipeline.prompts.tables import ParquetSource, TableSource
from pipeline.prompts.template import Mode, template_source
from pipeline.prompts.texts import LinesSource
from pipeline.prompts.writing import write_parquet

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
    said: dict[str, object] = {"columns": dict(asked.given)} if asked.given else {}
    said |= {"partitions": settings} if any(settings) else {}
    return SourceDataset(uri, sources, on_invalid, said, found.warnings)


def _source(file: PromptFile, asked: Reading, said: Mapping[str, str | None], found: Found) -> Source:
    if file.is_empty and not all(each.is_empty for each in found.files):
        return EmptySource(file)
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
