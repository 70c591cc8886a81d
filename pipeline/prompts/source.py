"""The front door of prompts: datasets from files, templates and tables.

Knows which ending means which reader. Runs on the driver, before any model is loaded; knows no model and no run.
"""

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa

from pipeline.domain.errors import DarkroomError
from pipeline.prompts.blocks import BLOCK_ROWS, PromptBlock, PromptDataset, PromptScan
from pipeline.prompts.dataset import OnInvalid, SourceDataset
from pipeline.prompts.files import PromptFile, find_files
from pipeline.prompts.jsonl import JsonlSource
from pipeline.prompts.lengths import LongPrompts, count_long_prompts
from pipeline.prompts.raw import Source
from pipeline.prompts.tables import ParquetSource, TableSource
from pipeline.prompts.template import Mode, template_source
from pipeline.prompts.texts import CsvSource, LinesSource
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

_READERS: dict[str, Callable[[PromptFile], Source]] = {
    ".parquet": ParquetSource,
    ".csv": lambda file: CsvSource(file, ","),
    ".tsv": lambda file: CsvSource(file, "\t"),
    ".jsonl": JsonlSource,
    ".txt": LinesSource,
}


def open_prompts(uri: str, on_invalid: OnInvalid = "fail", endpoint_url: str | None = None) -> PromptDataset:
    """Prompts of a file, a folder, a glob or an s3:// address, format by ending; several files are read in order."""
    if on_invalid not in ("fail", "record"):
        raise DarkroomError(f"prompts.on_invalid={on_invalid}: needed fail or record")
    if not uri:
        raise DarkroomError("prompts.uri is not set; give a file, a folder, a glob or an s3:// address")
    files = find_files(uri, frozenset(_READERS), endpoint_url)
    return SourceDataset(uri, [_READERS[file.ending](file) for file in files], on_invalid)


def template_prompts(
    pattern: str, slots: Mapping[str, Sequence[str]], mode: Mode, num_prompts: int | None, seed: int
) -> PromptDataset:
    """Prompts of a pattern such as "a {colour} {shape}"; the slots' values become extra columns."""
    source = template_source(pattern, slots, mode, num_prompts, seed)
    return SourceDataset(source.name, [source])


def table_prompts(table: pa.Table, name: str) -> PromptDataset:
    """Prompts of a table in memory."""
    return SourceDataset(name, [TableSource(name, table)])
