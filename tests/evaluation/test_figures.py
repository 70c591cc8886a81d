"""Evaluations that cannot be read are named, whatever is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import Control, Evaluation, Figure, Gap, Metric, put_evaluation, read_evaluations
from darkroom.runs.files import evaluation_key
from darkroom.runs.reading import PresentImages
from darkroom.storage.store import Store, open_store, parse_spec

INFO = Metric("m.s", "S", True, "c", "i", "m", "1" * 16, "w", "r", "", "")
FIGURE = Figure(float("nan"), None, None, 3, None, ("few",))
GAP = Gap("b", 1.0, 0.5, 1.5, 3)
WHOLE = Evaluation(
    "2026-01-01",
    {"m.s": INFO},
    {"a": {"m.s": FIGURE}},
    {"a": {"m.s": GAP}},
    {},
    {"a": PresentImages(3, "d")},
    {"reference": "demo"},
    controls={"real": Control({"m.s": FIGURE}, "3 images")},
)
PLACES = {
    "created_at": ["created_at"],
    "figures": ["cells", "a", "m.s"],
    "gaps": ["gaps", "a", "m.s"],
    "images": ["images", "a"],
    "options": ["options"],
    "controls": ["controls", "real", "figures", "m.s"],
    "metrics": ["metrics", "m.s"],
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    found = open_store(parse_spec(str(tmp_path)))
    put_evaluation(found, "one", WHOLE)
    return found


def test_an_evaluation_is_read_as_it_was_written(store: Store) -> None:
    (found,) = read_evaluations(store)
    assert repr(found) == repr(WHOLE)  # NaN is unequal to itself


def spoiled(value: dict[str, Any], place: list[str]) -> list[Callable[[], object]]:
    """What puts a list where each field of this part is."""
    *path, last = place
    for name in path:
        value = value[name]
    part = value[last]
    if not isinstance(part, dict) or last == "options":  # whose fields are anything
        return [lambda: value.update({last: [1]})]
    return [lambda name=name: part.update({name: [1]}) for name in part]


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_field_of_another_type_is_refused_in_one_line(store: Store, place: list[str]) -> None:
    whole = store.get(evaluation_key("one"))
    for number in range(len(spoiled(json.loads(whole), place))):
        value = json.loads(whole)
        spoiled(value, place)[number]()
        store.put(evaluation_key("one"), json.dumps(value).encode())
        with pytest.raises(DarkroomError, match=r"one\.json: not readable as an evaluation .* remove it") as caught:
            read_evaluations(store)
        assert "\n" not in str(caught.value)


def test_evaluations_are_read_oldest_first_and_costs_are_kept_beside_the_gaps(tmp_path: Path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    costs = {"c": {"m": Gap("base", 0.5, 0.25, 0.75, 9, 2.5, 2.0, ("few",))}}
    put_evaluation(store, "newer", Evaluation("2026-01-02", {}, {}))
    put_evaluation(store, "older", Evaluation("2026-01-01", {}, {}, {}, costs))
    first, second = read_evaluations(store)
    assert (first.gaps, first.costs) == ({}, costs)
    assert second.created_at == "2026-01-02"


def test_a_gap_that_was_stored_without_both_values_is_read(store: Store) -> None:
    value = json.loads(store.get(evaluation_key("one")))
    for name in ("value", "base_value", "warnings"):
        del value["gaps"]["a"]["m.s"][name]
    store.put(evaluation_key("one"), json.dumps(value).encode())
    (found,) = read_evaluations(store)
    assert found.gaps["a"]["m.s"] == GAP


@pytest.mark.parametrize(
    ("low", "high", "expected"), [(0.1, 0.3, True), (-0.3, -0.1, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_a_gap_is_told_apart_where_its_interval_leaves_out_0(low: float, high: float, expected: bool) -> None:
    assert Gap("b", (low + high) / 2, low, high, 9).is_told_apart is expected
