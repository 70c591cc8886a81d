from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.content import Axis, CellResult
from darkroom.reporting.data import metrics_table, payload
from tests.reporting.contents import METRICS, plain_run, sweep


@pytest.fixture
def frame(tmp_path: Path) -> pd.DataFrame:
    pq.write_table(metrics_table(sweep()), tmp_path / "metrics.parquet")
    return pd.read_parquet(tmp_path / "metrics.parquet")


@pytest.mark.slow
def test_one_row_a_cell_and_metric_with_its_figure(frame: pd.DataFrame) -> None:
    content = sweep()
    assert len(frame) == 45 * 3
    indexed = frame.set_index(["cell_id", "metric"])
    for cell in content.cells:
        for name, figure in cell.figures.items():
            row = indexed.loc[(cell.cell_id, name)]
            assert (row["value"], row["low"], row["high"]) == (figure.value, figure.low, figure.high)
            assert row["num_images"] == figure.num_images
            assert tuple(row["warnings"]) == figure.warnings
            assert row["guidance_scale"] == cell.settings["guidance_scale"]
    assert set(frame.loc[frame.metric == "clip_score", "extractor"]) == {"ViT-L/14"}
    assert frame.loc[frame.metric == "clip_score", "num_reference"].isna().all()


@pytest.mark.slow
def test_settings_keep_their_types_and_can_be_pivoted(frame: pd.DataFrame) -> None:
    assert frame["guidance_scale"].dtype == "float64"
    assert frame["num_inference_steps"].dtype == "int64"
    fid = frame[(frame.metric == "fid") & (frame.scheduler == "euler")]
    assert fid.pivot(index="guidance_scale", columns="num_inference_steps", values="value").shape == (5, 3)


@pytest.mark.slow
def test_best_and_dominated_are_marked(frame: pd.DataFrame) -> None:
    for metric in METRICS:
        own = frame[frame.metric == metric.name]
        best = own["value"].max() if metric.higher_is_better else own["value"].min()
        assert own.loc[own.best, "value"].tolist() == [best]
    assert not frame.loc[frame.best, "dominated"].any()


@pytest.mark.slow
def test_a_setting_of_mixed_kinds_becomes_text() -> None:
    content = sweep()
    first = replace(content.cells[0], settings=dict(content.cells[0].settings) | {"height": "native"})
    table = metrics_table(replace(content, cells=(first, *content.cells[1:])))
    assert set(table["height"].to_pylist()) == {"native", "512"}


def test_a_run_without_figures_gives_an_empty_table_with_columns() -> None:
    table = metrics_table(plain_run())
    assert table.num_rows == 0
    assert {"cell_id", "metric", "value"} <= set(table.column_names)


def test_differences_from_the_best_are_columns() -> None:
    best = CellResult("a", {}, 9, 0, {"fid": Figure(11.0, 10.0, 12.0, 9)})
    gaps = {"fid": Gap("a", 0.3, 0.1, 0.5, 8)}
    other = CellResult("b", {}, 9, 0, {"fid": Figure(11.3, 10.0, 12.5, 9)}, gaps)
    content = replace(plain_run(), cells=(best, other), metrics=(METRICS[0],))
    rows = metrics_table(content).to_pylist()
    names = ("compared_with", "difference", "difference_low", "difference_high", "num_pairs")
    assert [tuple(row[name] for name in names) for row in rows] == [(None,) * 5, ("a", 0.3, 0.1, 0.5, 8)]


def test_a_seed_that_javascript_would_round_is_text() -> None:
    seeds = (7, 2**60 + 1, 2**60 + 2)
    cells = [CellResult(f"c{seed}", {"seed": seed}, 1, 0, {}) for seed in seeds]
    found = payload(replace(plain_run(), axes=(Axis("seed", seeds),), cells=tuple(cells), scores={}), {})
    assert found["axes"] == [{"name": "seed", "values": [7, str(2**60 + 1), str(2**60 + 2)]}]
    assert [cell["settings"]["seed"] for cell in found["cells"]] == [7, str(2**60 + 1), str(2**60 + 2)]
