"""The cells of a run stand in the order of their settings."""

from pathlib import Path

from darkroom.runs.cells import add_cells, in_order, read_cells
from darkroom.storage.store import open_store, parse_spec
from tests.reporting.runs import cell

SETTINGS = [
    (scheduler, steps, guidance)
    for scheduler in ("ddim", "euler")
    for steps in (5, 10)
    for guidance in (1.0, 3.0, 12.0)
]


def test_cells_stand_in_the_order_of_their_settings_whatever_their_ids(tmp_path: Path) -> None:
    infos = [
        cell(scheduler=scheduler, num_inference_steps=steps, guidance_scale=guidance)
        for scheduler, steps, guidance in SETTINGS
    ]
    by_id = {info.cell.cell_id: info for info in infos}
    assert list(by_id) != sorted(by_id)
    store = open_store(parse_spec(str(tmp_path)))
    add_cells(store, dict(sorted(by_id.items())))
    assert list(read_cells(store).values()) == infos
    assert list(in_order(dict(reversed(by_id.items())))) == list(by_id)
