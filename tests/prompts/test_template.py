"""Templates: every combination, or draws that a seed fixes."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.opening import template_prompts
from tests.prompts.reading import extras, rows

DEPENDENT: dict[str, Any] = {
    "who": [
        "cat",
        {"value": "{size} dog", "when": {"place": ["park", "snow"]}},
        {"value": "boy in a {colour} coat", "when": {"place": "snow"}},
    ],
    "size": ["big", "small"],
    "place": ["park", "snow", "sea"],
    "colour": ["red", "blue"],
}
SLOTS = {"colour": ["red", "blue"], "shape": ["cube", "ball", "ring"]}


def prompts(mode: str, num_prompts: int | None, seed: int = 0, start: int = 0) -> list[str]:
    dataset = template_prompts("a {colour} {{{shape}}}", SLOTS, mode, num_prompts, seed)  # type: ignore[arg-type]
    return [row.prompt for row in rows(dataset, start)]


def test_a_product_has_every_combination_once() -> None:
    every = [f"a {colour} {{{shape}}}" for colour in SLOTS["colour"] for shape in SLOTS["shape"]]
    assert prompts("product", None) == every
    assert prompts("product", 4) == every[:4]
    assert prompts("product", None, start=3) == every[3:]


def test_draws_are_fixed_by_the_seed_and_not_by_how_many() -> None:
    drawn = prompts("random", 50)
    assert prompts("random", 60)[:50] == drawn
    assert prompts("random", 50, start=20) == drawn[20:]
    assert prompts("random", 50, seed=1) != drawn
    assert set(drawn) == set(prompts("product", None))  # six combinations in fifty draws


def test_slots_are_extra_columns_and_repeats_have_names_of_their_own() -> None:
    dataset = template_prompts("{colour} {colour}", {"colour": ["red"]}, "random", 3, 0)
    assert extras(dataset) == [{"colour": "red"}] * 3
    assert len({row.prompt_id for row in rows(dataset)}) == 3


def test_the_fingerprint_says_all_that_was_asked() -> None:
    asked = [("a {x}", ["1", "2"], "product", None, 0), ("a {x}", ["2", "1"], "product", None, 0)]
    asked += [("a {x}", ["1", "2"], "random", 2, 0), ("a {x}", ["1", "2"], "random", 2, 1)]
    scans = [template_prompts(p, {"x": v}, mode, n, seed).scan(1) for p, v, mode, n, seed in asked]  # type: ignore[arg-type]
    assert len({scan.fingerprint for scan in scans}) == 4


@pytest.mark.parametrize(
    ("pattern", "slots", "mode", "num_prompts", "message"),
    [
        ("a {x}", {}, "product", None, "slot {x} has no values"),
        ("a {x}", {"x": ["1"], "y": ["2"]}, "product", None, "has no {y}"),
        ("a {x}", {"x": []}, "product", None, "needed a list of one or more texts"),
        ("a {x}", {"x": "red"}, "product", None, "needed a list"),
        ("a {x.__class__}", {"x": ["1"]}, "product", None, "needs a plain name"),
        ("a {x!r:>5}", {"x": ["1"]}, "product", None, "needs a plain name"),
        ("a {", {}, "product", None, "write a brace itself"),
        ("{seed}", {"seed": ["1"]}, "product", None, "means a setting of the row"),
        ("a {x}", {"x": ["1"]}, "random", None, "needs prompts.num_prompts"),
        ("a {x}", {"x": 5}, "product", None, "needed a list of one or more texts"),
        ("a {x}", {"x": {"y": ["1"]}}, "product", None, "needed a list of one or more texts"),
        ("a {x}", {"x": [{"value": "1", "weight": 2}, "2"]}, "product", None, "weight is of random draws"),
        ("a {x}", {"x": {"uniform": [0, 1]}}, "product", None, "uniform is of random draws"),
        ("a {x}", {"x": {"uniform": [1, 0]}}, "random", 1, "the smaller first"),
        ("a {x}", {"x": {"from": 3, "to": 1}}, "product", None, "to is not below from"),
        ("a {x}", {"x": {"from": 1, "until": 3}}, "product", None, "no 'until' beside 'from'"),
        ("a {x}", {"x": {"file": "nowhere.txt"}}, "product", None, "no such file"),
        ("a {x}", {"x": [{"value": "1", "wait": 2}]}, "product", None, "a value has no 'wait'"),
        ("a {x}", {"x": [{"value": "1", "weight": -2}]}, "random", 1, "weight -2 is no number from 0 on"),
        ("a {x}", {"x": [{"value": "1", "when": {"z": "a"}}]}, "product", None, "when names 'z'"),
        ("a {x}", {"x": ["{y}"], "y": ["{x}"]}, "product", None, "in a circle"),
        ("a {x}", {"x": {"from": 1, "to": 10**12}, "y": ["1"]}, "product", None, "has no {y}"),
        ("a {x}", {"x": ["1"]}, "product", 2, "the slots make 1 combinations"),
        ("a {x}", {"x": ["1"]}, "product", 0, "needed at least 1"),
        ("a {x}", {"x": ["1"]}, "some", 1, "needed product or random"),
    ],
)
def test_what_cannot_be_meant_is_refused(pattern, slots, mode, num_prompts, message) -> None:
    with pytest.raises(DarkroomError) as raised:
        template_prompts(pattern, slots, mode, num_prompts, 0)
    assert message in str(raised.value)


def test_a_product_has_what_conditions_and_slots_in_values_allow_once() -> None:
    dogs = [f"{size} dog" for size in DEPENDENT["size"]]
    boys = [f"boy in a {colour} coat" for colour in DEPENDENT["colour"]]
    who = {"park": ["cat", *dogs], "snow": ["cat", *dogs, *boys], "sea": ["cat"]}
    expected = [f"a {each} at the {place}" for place, whole in who.items() for each in whole]
    dataset = template_prompts("a {who} at the {place}", DEPENDENT, "product", None, 0)
    assert [row.prompt for row in rows(dataset)] == expected
    for start in range(len(expected)):
        assert [row.prompt for row in rows(dataset, start, 2)] == expected[start:]
    assert extras(dataset)[1] == {"who": "big dog", "size": "big", "place": "park", "colour": None}


def test_draws_hold_conditions_and_go_by_weights() -> None:
    slots = {**DEPENDENT, "place": ["park", {"value": "sea", "weight": 8}], "x": {"uniform": [0.5, 2], "digits": 1}}
    dataset = template_prompts("a {who} at the {place}, {x}", slots, "random", 300, 0)
    found = extras(dataset, block_rows=300)
    assert {row["who"] for row in found if row["place"] == "sea"} == {"cat"}
    assert 0.8 < sum(row["place"] == "sea" for row in found) / 300 < 0.95
    assert all(0.5 <= float(str(row["x"])) <= 2 for row in found)
    assert rows(dataset, 100) == rows(
        template_prompts("a {who} at the {place}, {x}", slots, "random", 200, 0), 100
    ) + rows(dataset, 200)


def test_a_slot_of_which_no_value_may_be_is_empty() -> None:
    slots = {"a": ["x", "y"], "b": [{"value": "z", "when": {"a": "x"}}]}
    dataset = template_prompts("{a}{b}.", slots, "product", None, 0)
    assert [row.prompt for row in rows(dataset)] == ["xz.", "y."]


def test_numbers_and_files_are_slots(tmp_path: Path) -> None:
    (tmp_path / "pets.txt").write_text("# pets\ncat\n\ndog\n")
    slots = {"n": {"from": "0.5", "to": 1.5, "step": 0.25}, "pet": {"file": str(tmp_path / "pets.txt")}}
    dataset = template_prompts("{n} {pet}", slots, "product", None, 0)
    expected = [f"{n} {pet}" for n, pet in product(["0.50", "0.75", "1.00", "1.25", "1.50"], ["cat", "dog"])]
    assert [row.prompt for row in rows(dataset)] == expected
    (tmp_path / "pets.txt").write_text("cow\n")
    assert template_prompts("{n} {pet}", slots, "product", None, 0).scan(1).fingerprint != dataset.scan(1).fingerprint


def test_a_billion_rows_are_known_without_being_read() -> None:
    slots = {"n": {"from": 1, "to": 500_000_000}, "colour": ["red", "blue"]}
    dataset = template_prompts("photo {n}, {colour}", slots, "product", None, 0, True)
    scan = dataset.scan(2)
    assert (scan.num_rows, scan.num_images, scan.num_invalid) == (10**9, 2 * 10**9, 0)
    last = rows(dataset, 10**9 - 2)
    assert [row.prompt for row in last] == ["photo 500000000, red", "photo 500000000, blue"]
    assert len({row.prompt_id for row in [*last, *next(dataset.blocks()).rows]}) == 8194
    plain = template_prompts("photo {n}, {colour}", {**slots, "n": {"from": 1, "to": 3}}, "product", None, 0)
    few = template_prompts("photo {n}, {colour}", {**slots, "n": {"from": 1, "to": 3}}, "product", None, 0, True)
    assert [row.prompt for row in rows(few)] == [row.prompt for row in rows(plain)]
    with pytest.raises(DarkroomError, match="write words into it"):
        template_prompts("{n}", {"n": ["1"]}, "product", None, 0, True)
