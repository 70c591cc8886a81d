"""Templates: every combination, or draws that a seed fixes."""

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.opening import template_prompts
from tests.prompts.reading import extras, rows

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
        ("a {x}", {"x": ["1"]}, "product", 2, "the slots make 1 combinations"),
        ("a {x}", {"x": ["1"]}, "product", 0, "needed at least 1"),
        ("a {x}", {"x": ["1"]}, "some", 1, "needed product or random"),
    ],
)
def test_what_cannot_be_meant_is_refused(pattern, slots, mode, num_prompts, message) -> None:
    with pytest.raises(DarkroomError) as raised:
        template_prompts(pattern, slots, mode, num_prompts, 0)
    assert message in str(raised.value)
