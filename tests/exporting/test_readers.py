"""Exports are opened by the libraries that they are for: by light ones here, by heavy ones in an environment of their
own."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from darkroom.api.run import Run
from darkroom.exporting.run_folder import write_folder_card
from darkroom.runs.layouts import LAYOUTS
from tests.exporting.runs import PROMPTS
from tests.reporting.runs import cell, rendered

ROOT = Path(__file__).parents[2]


def late_columns(folder: Path, layout: str = "files") -> Run:
    """A run whose own columns are empty in all rows but the last."""
    store, info, cells = rendered(
        folder,
        PROMPTS,
        (cell(guidance_scale=2.0), cell(guidance_scale=5.0)),
        layout,
        lang=[None] * 17 + ["de"],
        text=[f"own {number}" for number in range(18)],
        tags=[[]] * 17 + [["a", "b"]],
        score=[None] * 17 + [1.5],
        meta=[None] * 17 + [{"a": 1, "b": "x"}],
        when=[datetime(2026, 1, 1, 0, 0, second, tzinfo=UTC) for second in range(18)],
        **{"ü x": [f"ü{number}" for number in range(18)]},
    )
    return Run(store, info, cells)


def test_duckdb_and_pandas_read_the_shards_as_one_table(tmp_path: Path) -> None:
    late_columns(tmp_path / "run").export(tmp_path / "set", shard_size=7)
    shards = f"{tmp_path}/set/data/*.parquet"
    counts = duckdb.sql(
        f"select lang, count(*), max(meta.a), sum(octet_length(image.bytes) = bytes) from '{shards}' group by all "
        "order by all nulls last"
    ).fetchall()
    assert counts == [("de", 2, 1, 2), (None, 34, None, 34)]
    table = pd.read_parquet(tmp_path / "set" / "data")
    assert table[table.lang == "de"].text.tolist() == [PROMPTS[17]] * 2
    assert str(table.when.dtype) == "datetime64[us, UTC]"


@pytest.mark.drill
@pytest.mark.timeout(1200)
def test_datasets_webdataset_and_mlcroissant_open_every_layout(tmp_path: Path) -> None:
    run = late_columns(tmp_path / "run")
    for layout in ("parquet", "webdataset", "imagefolder"):
        splits = {"train": 0.7, "validation": 0.3}
        run.export(tmp_path / layout, layout=layout, splits=splits, shard_size=7, license="cc-by-4.0")
    for layout in LAYOUTS:
        itself = late_columns(tmp_path / f"run-{layout}", layout)
        write_folder_card(itself.store, itself.info, itself.cells)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = ("datasets", "webdataset", "mlcroissant", "pillow")
    install = [python, "-m", "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt", *packages]
    subprocess.run(install, check=True)
    opened = subprocess.run(
        [python, Path(__file__).with_name("readers.py"), tmp_path], capture_output=True, text=True, check=False
    )
    assert "all opened" in opened.stdout, opened.stderr[-3000:]
