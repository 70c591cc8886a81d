"""A dataset as one Parquet file that reads back as the same rows, ids and all."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.domain.requests import ROW_COLUMNS
from darkroom.prompts.blocks import PromptBlock, PromptDataset
from darkroom.prompts.columns import READ

_ARROW = {str: pa.string(), int: pa.int64(), float: pa.float64()}


def write_parquet(dataset: PromptDataset, path: str | Path) -> int:
    """Write the rows, their ids and extra columns; the number of rows. The file appears whole or not at all."""
    scan = dataset.scan(1)
    if scan.num_invalid:
        raise DarkroomError(f"{path}: {scan.num_invalid} rows are invalid and would be lost; mend or drop them first")
    own = [pa.field(name, _ARROW[ROW_COLUMNS.get(name, str)]) for name in READ]
    schema = pa.schema([*own, *scan.extras_schema])
    part = Path(f"{path}.part")
    with pq.ParquetWriter(part, schema) as writer:
        for block in dataset.blocks(block_rows=65_536):
            writer.write_table(_table(block, schema))
    part.replace(path)
    return scan.num_rows


def _table(block: PromptBlock, schema: pa.Schema) -> pa.Table:
    said = [{"prompt": row.prompt, "prompt_id": row.prompt_id, **dict(row.overrides)} for row in block.rows]
    own = [[cells.get(name) for cells in said] for name in READ]
    arrays = [pa.array(cells, schema.field(index).type) for index, cells in enumerate(own)]
    return pa.table([*arrays, *block.extras.columns], schema=schema)
