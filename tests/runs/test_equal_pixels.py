"""Cells whose settings change nothing are told from those that are equal here and there."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo
from darkroom.runs.equal_pixels import EqualCells, equal_cells, equal_lines
from darkroom.runs.files import manifest_key
from darkroom.storage.store import Store
from tests.reporting.runs import cell, content, rendered

PROMPTS = [f"prompt {number}" for number in range(10)]
CELLS = [cell(scheduler=name) for name in ("ddim", "euler", "heun")]


def changed(store: Store, cell_id: str, digests: Mapping[int, str | None]) -> None:
    """As if a cell's images in these rows had other pixels."""
    for name in manifest.committed(store, cell_id):
        before = store.get(manifest_key(name))
        table = manifest.parse(before)
        rows = zip(table["row"].to_pylist(), table["pixels_sha256"].to_pylist(), strict=True)
        values = [digests.get(row, digest) for row, digest in rows]
        place = table.column_names.index("pixels_sha256")
        column = pa.array(values, pa.string())
        assert manifest.revise(store, name, before, table.set_column(place, table.schema.field(place), column))


def shown(run: tuple[Store, object, dict[str, CellInfo]]) -> list[str]:
    return [note for note in content(run).notes if note.startswith("Equal:")]


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_a_setting_that_does_nothing_is_pointed_out(tmp_path: Path, layout: str) -> None:
    store, info, cells = run = rendered(tmp_path, PROMPTS, CELLS, layout=layout)  # paint looks at the seed alone
    first, second, third = cells
    assert equal_cells(store, cells) == [EqualCells((first, second, third), 10)]
    (line,) = equal_lines(store, cells, info)
    assert line == (
        f"cells {first}, {second}, {third} have equal pixels in all 10 images that they share: "
        "scheduler (ddim, euler, heun) does nothing here"
    )
    assert shown(run) == [f"Equal: {line}."]


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 5, 9])
def test_one_image_that_differs_is_enough_to_say_nothing(tmp_path: Path, row: int) -> None:
    store, _, cells = run = rendered(tmp_path, PROMPTS, CELLS)
    first, second, third = cells
    changed(store, second, {row: "0" * 64})
    assert equal_cells(store, cells) == [EqualCells((first, third), 10)]
    changed(store, third, {row: "1" * 64})
    assert equal_cells(store, cells) == []
    assert shown(run) == []


@pytest.mark.slow
def test_only_images_that_both_have_and_know_are_compared(tmp_path: Path) -> None:
    rendered(tmp_path, ["a", "fail alone", *PROMPTS[2:]], CELLS[:1])
    store, _, cells = rendered(tmp_path, ["a", "fail alone", *PROMPTS[2:]], CELLS[:2], unfinished=2)
    first, second = cells
    found = {name.cell_id: 0 for name in manifest.committed(store)}
    for name in manifest.committed(store):
        found[name.cell_id] += manifest.read(store, name, ["status"])["status"].to_pylist().count("ok")
    assert equal_cells(store, cells) == [EqualCells((first, second), min(found.values()))]
    changed(store, second, {0: None})
    assert equal_cells(store, cells) == [EqualCells((first, second), min(found.values()) - 1)]
    changed(store, second, dict.fromkeys(range(10), None))
    assert equal_cells(store, cells) == []


@pytest.mark.slow
def test_a_run_of_one_cell_reads_no_records_for_it(tmp_path: Path) -> None:
    store, info, cells = rendered(tmp_path, PROMPTS, CELLS[:1])
    for name in manifest.committed(store):
        store.put(manifest_key(name), b"not readable")
    assert list(equal_lines(store, cells, info)) == []


@pytest.mark.slow
def test_values_and_cells_are_not_told_without_end(tmp_path: Path) -> None:
    many = [replace(cell(guidance_scale=number + 1.0)) for number in range(9)]
    store, info, cells = rendered(tmp_path, ["a"], many)
    (line,) = equal_lines(store, cells, info)
    assert " and 5 more have equal pixels in all 1 images" in line
    assert "guidance_scale (1.0, 2.0, 3.0, 4.0, 5.0, 6.0 and 3 more) does nothing here" in line
