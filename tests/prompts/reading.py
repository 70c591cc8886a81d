"""Short ways to read a dataset whole, for the tests of this room."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import PromptDataset
from darkroom.prompts.opening import open_prompts

few = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXT = st.text(max_size=40).filter(lambda text: text.strip())
BENCHMARKS = Path(__file__).parents[3] / "shared" / "data" / "prompts"


def rows(dataset: PromptDataset, start: int = 0, block_rows: int = 3) -> list[PromptRow]:
    return [row for block in dataset.blocks(start, block_rows) for row in block.rows]


def prompts(source: str | Path | PromptDataset) -> list[str]:
    dataset = open_prompts(source) if isinstance(source, str | Path) else source
    return [row.prompt for row in rows(dataset)]


def extras(dataset: PromptDataset, start: int = 0, block_rows: int = 3) -> list[dict[str, object]]:
    return [row for block in dataset.blocks(start, block_rows) for row in block.extras.to_pylist()]


def ids(*prompts: str, **columns: Sequence[object]) -> list[str]:
    return [row.prompt_id for row in rows(open_prompts(pa.table({"prompt": prompts, **columns}), name="table"))]


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def parquet(path: Path, columns: dict[str, object], row_group_size: int | None = None) -> str:
    pq.write_table(pa.table(columns), path, row_group_size=row_group_size)
    return str(path)


def opened(path: Path, columns: dict[str, object], **options: object) -> PromptDataset:
    return open_prompts(parquet(path, columns), **options)  # type: ignore[arg-type]


def refused(source: object, **options: object) -> str:
    """What a scan says against it, in one line."""
    with pytest.raises(DarkroomError) as raised:
        open_prompts(source, **options).scan(1)  # type: ignore[arg-type]
    assert "\n" not in str(raised.value)
    return str(raised.value)


def sound(text: str) -> str:
    """The text without lone surrogates."""
    return text.encode(errors="replace").decode()
