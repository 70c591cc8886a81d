"""Ranges of an axis: what they stand for, and which are refused."""

from typing import Any

import pytest

from darkroom.domain.axis_values import axis_values
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import SETTINGS


@pytest.mark.parametrize(
    ("name", "given", "values"),
    [
        ("guidance_scale", "1-4", [1, 2, 3, 4]),
        ("guidance_scale", "1-10(+2)", [1, 3, 5, 7, 9]),
        ("guidance_scale", " 1 - 2.5 (+0.5) ", [1, 1.5, 2, 2.5]),
        ("guidance_scale", "1-10 [5]", [1, 3.25, 5.5, 7.75, 10]),
        ("guidance_scale", "0-0.3 (+0.1)", [0, 0.1, 0.2, 0.3]),
        ("num_inference_steps", "10-1 (-4)", [10, 6, 2]),
        ("num_inference_steps", ["5, 10-30 [3]", 50], [5, 10, 20, 30, 50]),
        ("lora_weight", "-1--0.5 (+0.25)", [-1, -0.75, -0.5]),
        ("scheduler", ["1-4"], ["1-4"]),
        ("guidance_scale", (1, 2.5), [1, 2.5]),
    ],
)
def test_numbers_of_an_axis_may_be_ranges(name: str, given: Any, values: list) -> None:
    found = axis_values("axis", SETTINGS[name], given)
    assert found == values
    kind = SETTINGS[name].kind
    assert kind is not int or all(isinstance(value, int) for value in found)


@pytest.mark.parametrize(
    ("name", "given", "error"),
    [
        ("guidance_scale", "1.5-3", r"axis=1.5-3: its step is not clear; give it, as 1.5-3 \(\+0.5\), or a number"),
        ("guidance_scale", "9-1", r"its step is not clear; give it, as 9-1 \(-0.5\)"),
        ("guidance_scale", "1-9 (-2)", "steps of -2 do not lead from 1 to 9; give another step"),
        ("guidance_scale", "1-9 (+0)", "do not lead"),
        ("guidance_scale", "1-9 [1]", r"\[1\] is how many values; give from 2"),
        ("guidance_scale", "1-9000 (+0.001)", "it has 8,999,001 values; give 10,000 at most"),
        ("guidance_scale", f"1-{'9' * 40}", "is no number and no range; give"),
        ("guidance_scale", "1..5", "'1..5' is no number and no range; give"),
        ("num_inference_steps", "1-10 [5]", "3.25 is not whole, and num_inference_steps is; give whole ends and a"),
        ("num_inference_steps", "0.5-3", "0.5 is not whole, and num_inference_steps is; give whole ends"),
        ("scheduler", "ddim", r"axis='ddim': give a list, such as \['ddim'\]"),
    ],
)
def test_a_range_that_may_mean_several_things_is_refused_with_the_remedy(name: str, given: str, error: str) -> None:
    with pytest.raises(DarkroomError, match=error):
        axis_values("axis", SETTINGS[name], given)
