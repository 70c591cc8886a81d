"""The cells of a run stand in the order of their settings; what sweeps dropped of them, and how, is remembered."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.runs.cells import Choices, Dropped, Halving, add_cells, in_order, put_choices, read_cells, read_choices
from darkroom.runs.files import CHOICES_KEY
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


def test_seeds_beyond_what_floats_tell_apart_stand_in_their_order() -> None:
    infos = [cell(seed=2**60 + number) for number in range(12)]
    turned = {info.cell.cell_id: info for info in reversed(infos)}
    assert list(in_order(turned).values()) == infos


def dropped(cell_id: str, value: float = 1.0) -> Dropped:
    return Dropped(cell_id, 1, 2, 8, "demo_clip.clip_score", value, 3, 4, 2)


SPOILED = json.dumps([asdict(dropped("a")) | {"value": "high"}]).encode()


def test_choices_of_other_cells_stay(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    assert list(read_choices(store).dropped) == []
    put_choices(store, ["a", "b", "c"], [dropped("a"), dropped("b")])
    put_choices(store, ["d"], [])  # a plain sweep of one more cell
    assert list(read_choices(store).dropped) == [dropped("a"), dropped("b")]
    put_choices(store, ["b", "e"], [dropped("e")])  # b goes on in another grid
    assert list(read_choices(store).dropped) == [dropped("a"), dropped("e")]
    put_choices(store, ["a", "c"], [dropped("a", 2.0)])
    assert list(read_choices(store).dropped) == [dropped("e"), dropped("a", 2.0)]


def test_two_sweeps_at_once_forget_nothing(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    names = [f"cell{number}" for number in range(24)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda name: put_choices(store, [name], [dropped(name)]), names))
    assert sorted(item.cell_id for item in read_choices(store).dropped) == sorted(names)


@pytest.mark.parametrize("damaged", [b"", b"[", b"{}", b"null", b"[{}]", b"[1]", b"\xff", SPOILED])
def test_damaged_choices_are_named_and_not_overwritten(tmp_path: Path, damaged: bytes) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    store.put(CHOICES_KEY, damaged)
    for act in (lambda: read_choices(store), lambda: put_choices(store, ["a"], [])):
        with pytest.raises(DarkroomError, match=r"choices.json: not readable .* remove it"):
            act()
    assert store.get(CHOICES_KEY) == damaged


def halving(*cell_ids: str) -> Halving:
    return Halving({"figure": "demo_clip.vendi"}, {"reference": "demo"}, list(cell_ids), list(cell_ids[:1]), "")


def test_a_halving_stays_until_a_sweep_has_all_of_its_cells(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    put_choices(store, ["a", "b"], [dropped("b")], halving("a", "b"))
    put_choices(store, ["b"], [])
    put_choices(store, [], [], halving("c", "d"))
    assert read_choices(store).halvings == [halving("a", "b"), halving("c", "d")]
    put_choices(store, ["a", "b", "c"], [], halving("a", "b", "c"))
    assert read_choices(store).halvings == [halving("c", "d"), halving("a", "b", "c")]
    put_choices(store, ["c", "d", "e"], [])
    assert read_choices(store).halvings == [halving("a", "b", "c")]


def test_choices_of_the_first_version_are_read(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    store.put(CHOICES_KEY, json.dumps([asdict(dropped("a"))]).encode())
    assert read_choices(store) == Choices([dropped("a")])
