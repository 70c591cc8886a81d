"""Tables of records, also of runs that are older than a setting's column."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from darkroom.domain.records import RECORD_COLUMNS
from darkroom.domain.settings import IMAGE_SETTINGS
from darkroom.runs import manifest
from darkroom.runs.manifest import RECORD_SCHEMA, extra_columns, to_records, to_table
from darkroom.runs.reading import recorded_request
from tests.reporting.runs import cell, rendered

LATER = [each.name for each in IMAGE_SETTINGS if each.has_neutral] + ["scheduler_config"]


@pytest.fixture
def table(tmp_path: Path) -> pa.Table:
    store, _, _ = rendered(tmp_path, ["a", "b"], [cell(guidance_stop=0.5)])
    (name,) = manifest.committed(store)
    return manifest.read(store, name)


def aged(table: pa.Table, columns: manifest.Columns = None) -> pa.Table:
    """As a version wrote it that knew none of the later settings."""
    buffer = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(LATER), buffer)
    return manifest.parse(buffer.getvalue().to_pybytes(), columns)


@pytest.mark.slow
def test_every_setting_of_an_image_is_a_column_and_comes_back(table: pa.Table) -> None:
    assert tuple(RECORD_SCHEMA.names) == RECORD_COLUMNS
    records = to_records(table)
    assert {record.sampling.guidance_stop for record in records} == {0.5}
    again = to_table(records, extra_columns(table), {})
    assert again.equals(table.replace_schema_metadata({}))


@pytest.mark.slow
def test_a_run_that_is_older_than_a_column_is_read(table: pa.Table) -> None:
    old = aged(table)
    assert old["guidance_rescale"].to_pylist() == [0.0, 0.0]  # rows may say it, and none did
    assert old["guidance_stop"].to_pylist() == [None, None]  # only its cell knows
    requests = [recorded_request(record, cell(guidance_stop=0.5).cell) for record in to_records(old)]
    assert [request.sampling for request in requests] == [record.sampling for record in to_records(table)]


@pytest.mark.slow
def test_columns_that_a_run_is_older_than_are_there_beside_those_of_its_prompts(table: pa.Table) -> None:
    asked = ("image_id", "scheduler_config")
    found = aged(table.append_column("kind", pa.array(["x"] * len(table))), manifest.WithExtras(frozenset(asked)))
    assert sorted(found.column_names) == ["image_id", "kind", "scheduler_config"]
    assert found["scheduler_config"].null_count == len(table)


def test_columns_that_a_run_is_older_than_have_its_rows(table: pa.Table) -> None:
    assert aged(table, ["guidance_rescale"]).to_pydict() == {"guidance_rescale": [0.0, 0.0]}
    both = aged(table, ["guidance_stop", "guidance_rescale"])
    assert (both.num_rows, both.column_names) == (2, ["guidance_stop", "guidance_rescale"])
    assert manifest.texts(both.schema) == manifest.texts(table.schema)
    assert aged(table, ["guidance_rescale", "prompt"]).num_rows == 2


@pytest.mark.slow
def test_a_table_without_a_column_that_all_runs_have_is_refused(table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table.drop_columns(["guidance_scale"]), buffer)
    with pytest.raises(ValueError, match="guidance_scale is missing"):
        manifest.parse(buffer.getvalue().to_pybytes())
