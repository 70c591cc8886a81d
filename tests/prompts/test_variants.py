"""Prompts with choices: what may be drawn, that a draw is a function of its key, and what is refused."""

from collections import Counter
from collections.abc import Sequence

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.variants import Draws, drawn, parsed

LISTS = {"pets": ["cat", "{big|small} dog"], "all": ["__pets__", "fish"], "loop": ["a __loop__"]}


def lines(name: str) -> Sequence[str]:
    return LISTS[name]


def draws(text: str, count: int = 200) -> Counter[str]:
    node = parsed(text, lines)
    return Counter(drawn(node, Draws(0, number)) for number in range(count))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain (a:1.2) $5 a|b _x_", {"plain (a:1.2) $5 a|b _x_"}),
        (r"\{a\|b\} \\", {r"{a|b} \\".replace("\\\\", "\\")}),
        ("{a|b} x", {"a x", "b x"}),
        ("{a|}", {"a", ""}),
        ("{{a|b}|c}", {"a", "b", "c"}),
        ("a __pets__", {"a cat", "a big dog", "a small dog"}),
        ("__all__", {"cat", "big dog", "small dog", "fish"}),
        ("{2$$a|b}", {"a, b", "b, a"}),
        ("{1-2$$ and $$a|b}", {"a", "b", "a and b", "b and a"}),
        ("{-1$$a|b}", {"a", "b"}),
        ("{2-$$a|b}", {"a, b", "b, a"}),
        ("{5$$a|b}", {"a, b", "b, a"}),
        ("{2$$/$$__pets__}", {"cat/big dog", "cat/small dog", "big dog/cat", "small dog/cat"}),
        ("{0::a|b}", {"b"}),
    ],
)
def test_every_option_is_drawn_and_no_other(text: str, expected: set[str]) -> None:
    assert draws(text).keys() == expected


def test_weights_say_how_often_an_option_is_drawn() -> None:
    counts = draws("{3::a|b}", 2000)
    assert 0.72 < counts["a"] / 2000 < 0.78


def test_a_draw_is_a_function_of_its_key() -> None:
    node = parsed("{a|b|c}{a|b|c}{a|b|c}", lines)
    texts = [drawn(node, Draws(0, number)) for number in range(20)]
    assert texts == [drawn(node, Draws(0, number)) for number in range(20)]
    assert texts != [drawn(node, Draws(1, number)) for number in range(20)]
    assert len(set(texts)) > 5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a|b", "never closed"),
        ("a}", "closes no"),
        ("${x=a} b", "a variable"),
        ("{@a|b}", "a sampler"),
        ("__pets(a=b)__", "arguments"),
        ("__loop__", "holds itself"),
        ("{0::a|0::b}", "weights"),
        ("{3-2$$a|b|c}", "less than"),
        ("{" * 60, "write fewer"),
    ],
)
def test_what_is_not_read_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        parsed(text, lines)
