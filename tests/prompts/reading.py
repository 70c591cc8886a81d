"""Short ways to read a dataset whole, for the tests of this room."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.requests import PromptRow
from darkroom.prompts.source import PromptDataset, open_prompts, table_prompts

BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "prompts"


def rows(dataset: PromptDataset, start: int = 0, block_rows: int = 3) -> list[PromptRow]:
    return [row for block in dataset.blocks(start, block_rows) for row in block.rows]


def extras(dataset: PromptDataset, start: int = 0, block_rows: int = 3) -> list[dict[str, object]]:
    return [row for block in dataset.blocks(start, block_rows) for row in block.extras.to_pylist()]


def ids(*prompts: str, **columns: Sequence[object]) -> list[str]:
    return [row.prompt_id for row in rows(table_prompts(pa.table({"prompt": prompts, **columns}), "table"))]


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def parquet(path: Path, columns: dict[str, object], row_group_size: int | None = None) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return str(path)


def opened(path: Path, columns: dict[str, object], **options: object) -> PromptDataset:
    return open_prompts(parquet(path, columns), **options)  # type: ignore[arg-type]
