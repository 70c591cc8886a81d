"""Columns of an exported dataset."""

from dataclasses import replace

import pyarrow as pa

from darkroom.domain.identity import Cell, planned_shard
from darkroom.exporting.selection import score_column
from darkroom.exporting.shards import Format, json_rows
from darkroom.runs.cells import CellInfo
from tests.reporting.runs import cell
from tests.runs import synthetic

PLAIN = cell()
TILED = CellInfo(PLAIN.ref, Cell(replace(PLAIN.cell.model, vae_tiling=True), PLAIN.cell.sampling))
CELLS = {info.cell.cell_id: info for info in (PLAIN, TILED)}
EXTRAS = pa.table({"text": ["own"] * 2, "source_text": ["taken"] * 2, "file_name": [b"\xff"] * 2, "tags": [["a"], []]})


def table(info: CellInfo) -> pa.Table:
    return synthetic.table(planned_shard(info.cell.cell_id, "prompts", 0, 2), extras=EXTRAS)


def test_own_columns_whose_names_are_taken_are_kept_under_others() -> None:
    form = Format("webdataset", "png", False, EXTRAS.schema, (), CELLS)
    rows = json_rows(form.columns(table(PLAIN)))
    said = {name: rows[0][name] for name in ("text", "source_text", "source_source_text", "source_file_name", "tags")}
    assert said == {
        "text": "a red circle, number 0", "source_text": "taken", "source_source_text": "own",
        "source_file_name": "/w==", "tags": ["a"],
    }  # fmt: skip
    assert "image" not in rows[0]
    assert [list(row) for row in rows] == [form.schema.names] * 2


def test_an_own_column_that_is_called_as_a_score_leaves_it_its_name() -> None:
    own = pa.table({"clip.clip_score": ["own"] * 2})
    form = Format("parquet", "png", False, own.schema, ("clip.clip_score",), CELLS)
    records = synthetic.table(planned_shard(PLAIN.cell.cell_id, "prompts", 0, 2), extras=own)
    found = form.columns(records.append_column(score_column("clip.clip_score"), pa.array([0.5, None])))
    assert found["clip.clip_score"].to_pylist() == [0.5, None]
    assert found["source_clip.clip_score"].to_pylist() == ["own"] * 2
    assert found.column_names == form.schema.names


def test_texts_that_datasets_takes_for_files_of_a_folder_are_called_otherwise_there() -> None:
    own = pa.table({name: ["own"] * 2 for name in ("file_name", "mask_file_name", "x_file_names", "file_name_text")})
    called = {}
    for layout in ("imagefolder", "parquet"):
        form = Format(layout, "png", False, own.schema, (), CELLS)
        records = synthetic.table(planned_shard(PLAIN.cell.cell_id, "prompts", 0, 2), extras=own)
        found = form.columns(records)
        called[layout] = [name for name in found.column_names if "file_name" in name]
        assert all(found[name].to_pylist() == ["own"] * 2 for name in called[layout])
    assert called["parquet"] == ["source_file_name", *own.column_names[1:]]
    assert called["imagefolder"] == [
        "source_file_name_text",
        "mask_file_name_text",
        "x_file_names_text",
        "file_name_text",
    ]


def test_a_lossy_setting_of_a_model_is_a_column_of_all_cells_and_of_one_type() -> None:
    form = Format("parquet", "png", False, EXTRAS.schema, (), CELLS)
    plain, tiled = (form.columns(table(info)) for info in (PLAIN, TILED))
    assert (plain["vae_tiling"].to_pylist(), tiled["vae_tiling"].to_pylist()) == ([None] * 2, [True] * 2)
    assert plain.schema == tiled.schema
