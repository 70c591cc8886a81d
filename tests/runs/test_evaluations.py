"""Evaluations that cannot be read are named, whatever is wrong with them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.runs.evaluations import CellFigure, Evaluation, Gap, MetricInfo, put_evaluation, read_evaluations
from darkroom.runs.keys import evaluation_key
from darkroom.runs.reading import PresentImages
from darkroom.storage.opening import open_store
from darkroom.storage.store import Store, parse_spec

INFO = MetricInfo("m.s", "S", True, "c", "i", "m", "1" * 16, "w", "r", "", "")
FIGURE = CellFigure(float("nan"), None, None, 3, None, ("few",))
GAP = Gap("b", 1.0, 0.5, 1.5, 3)
WHOLE = Evaluation(
    "2026-01-01", {"m.s": INFO}, {"a": {"m.s": FIGURE}}, {"a": {"m.s": GAP}}, {}, {"a": PresentImages(3, "d")}
)
PLACES = {
    "created_at": ["created_at"],
    "figures": ["cells", "a", "m.s"],
    "gaps": ["gaps", "a", "m.s"],
    "images": ["images", "a"],
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
    if not isinstance(part, dict):
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
