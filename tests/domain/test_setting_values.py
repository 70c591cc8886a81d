"""Values in a user's words."""

from typing import Any

import pytest

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_said, checked_value
from darkroom.domain.settings import SETTINGS


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "null"),
        (True, "true"),
        (0.5, "0.5"),
        ("ddim", "ddim"),
        ((LoraRef("ink"), LoraRef("oil", 0.6)), "[ink, {path: oil, weight: 0.6}]"),
        ([{"path": "ink", "weight": None}], "[{path: ink, weight: null}]"),
        ((), "[]"),
    ],
)
def test_a_value_is_said_as_a_command_has_it(value: Any, said: str) -> None:
    assert as_said(value) == said


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("quantization", None, "k=null: no such choice; choices are none, torchao_int8_weight_only"),
        ("height", True, "k=true: give a whole number"),
        ("negative_prompt", None, "k=null: give a text"),
        ("loras", "ink", r"k='ink': give a list, such as \[{path: ..., weight: ..., name: ...}\]"),
        ("loras", [True], r"k\[0\]=true: give a text, or keys with values"),
    ],
)
def test_what_cannot_be_is_shown_so_too(name: str, value: Any, error: str) -> None:
    with pytest.raises(DarkroomError, match=f"^{error}"):
        checked_value(SETTINGS[name], value, "k")
