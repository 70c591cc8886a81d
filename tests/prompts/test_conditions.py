"""Conditions in SQL on rows: what holds, what is refused, whatever the type of a column."""

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.conditions import Condition

TABLE = pa.table(
    {
        "prompt": ["a cat", "a dog", "two cats", "a Cat"],
        "aesthetic": [4.0, 6.0, None, 7.0],
        "lang": pa.array([b"en", b"fr", b"\xff", b"en"], pa.binary()),  # as files without types have it
        "my score": [1, 2, 3, 4],
        "meta": [{"width": 10}, {"width": 20}, {"width": 30}, None],
        "nothing": pa.nulls(4),
    }
)


def held(text: str) -> list[bool]:
    condition = Condition(text, "where")
    names = {name: name for name in TABLE.column_names}
    condition.check(names)
    return list(condition.holds(TABLE, condition.found(names)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("aesthetic > 5", [False, True, False, True]),
        ("aesthetic is null", [False, False, True, False]),
        ("not aesthetic > 5", [True, False, False, False]),  # null is neither
        ("prompt like '%cat%' and lang = 'en'", [True, False, False, False]),
        ("prompt ilike '%cat%' or \"my score\" = 2", [True, True, True, True]),
        ("meta.width + 1 > 20", [False, True, True, False]),
        ("PROMPT in ('a dog', 'a Cat')", [False, True, False, True]),
        ("length(prompt) between 6 and 9 -- the long ones", [False, False, True, False]),
        ("try_cast(lang as double) > 1", [False] * 4),
        ("nothing > 1", [False] * 4),
        ("nothing", [False] * 4),
        ("1 = 1", [True] * 4),
    ],
)
def test_rows_that_hold_a_condition(text: str, expected: list[bool]) -> None:
    assert held(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aesthetic >", r"where=aesthetic >: syntax error .*; give a condition in SQL, as after WHERE"),
        (
            "aesthetics > 5",
            r"where=aesthetics > 5: no column 'aesthetics'; did you mean aesthetic\? There are prompt, ",
        ),
        ("prompt > 5", r"where=prompt > 5: Cannot compare .*; write try_cast\(<column> as double\) for numbers"),
        ("aesthetic", "where=aesthetic is double; give a condition that is true or false"),
        ("sum(aesthetic) > 3", r"holds sum\(\), which is no function of a row's values alone"),
        ("random() < 0.5", r"holds random\(\), which"),
        ("now() > '2020-01-01'", r"holds now\(\), which"),
        ("row_number() over () < 3", "holds a function of several rows; give a condition of one row"),
        ("prompt in (select 'a cat')", "holds a query"),
        ("prompt = $1", "holds a parameter"),
        ("true; drop table rows", "syntax error"),
        ("(select count(*) from read_csv('/etc/passwd')) > 1", "holds a query"),
    ],
)
def test_what_is_no_condition_of_a_row_is_refused(text: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said) as refused:
        held(text)
    assert "\n" not in str(refused.value)
