"""Conditions in SQL on rows: what holds, what is refused, whatever the type of a column."""

import time

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.prompts.conditions import Condition

TABLE = pa.table(
    {
        "prompt": ["a cat", "a dog", "two cats", "a Cat"],
        "aesthetic": [4.0, 6.0, None, 7.0],
        "lang": ["en", "fr", None, "en"],
        "Lang": ["de", "de", "de", "de"],
        "size": pa.array(["5", "5.4", "x", None]).dictionary_encode(),
        "tags": [["cat", "red"], ["dog"], [], None],
        "seen": pa.array([0, 1_704_067_200, 1_704_085_200, None], pa.timestamp("s", "America/New_York")),
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
        ("size = '5' or try_cast(size as double) > 5", [True, True, False, False]),
        ("len(list_filter(tags, lambda tag: tag like '%d')) > 0", [True, False, False, False]),
        ("len([t for t in tags if t = 'dog']) = 1", [False, True, False, False]),
        ("(to_json(meta) -> '$.width') = '10'", [True, False, False, False]),
        ("split_part(prompt, ' ', 2) = 'cat'", [True, False, False, False]),  # a macro of DuckDB's
        ("nothing", [False] * 4),
        ("1 = 1", [True] * 4),
    ],
)
def test_rows_that_hold_a_condition(text: str, expected: list[bool]) -> None:
    assert held(text) == expected


def test_times_are_read_alike_in_every_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    for zone in ("UTC", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        time.tzset()
        assert held("seen >= '2024-01-01' and seen::date = date '2024-01-01'") == [False, True, True, False]
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aesthetic >", r"where=aesthetic >: syntax error .*; give a condition in SQL, as after WHERE"),
        (
            "aesthetics > 5",
            r"where=aesthetics > 5: no column 'aesthetics'; did you mean aesthetic\? There are prompt, ",
        ),
        ("prompt > 5", r"where=prompt > 5: column 'prompt' is text, and is compared with a number; write try_cast"),
        ("size = 5", r"column 'size' is text"),  # which DuckDB takes 5.4 for
        ("size not in (5.5, 6)", r"column 'size' is text"),
        ("prompt between 1 and 2", r"Cannot mix values .*; write try_cast\(<column> as double\) for numbers"),
        ("lang = 'en' and Lang = 'de'", "columns 'lang' and 'Lang' differ in case alone"),
        ("ago(interval 1 day) > seen", r"holds ago\(\), which"),
        ("age(seen) > interval 1 day", r"holds age\(\), which"),
        ("current_query() = prompt", r"holds current_query\(\), which"),
        ("true) union select 1 from rows where (true", "syntax error .*; give a condition in SQL, as after WHERE"),
        ("true) or (true", "syntax error .*; give a condition in SQL, as after WHERE"),
        ("1 = 1\n/* all", "1 = 1 /. all: unterminated .*; give a condition in SQL, as after WHERE"),
        (" ", "where is empty; give a condition in SQL, as after WHERE, or leave it out"),
        ("aesthetic", "where=aesthetic is double; give a condition that is true or false"),
        ("sum(aesthetic) > 3", r"holds sum\(\), which is no function of a row's values alone"),
        ("random() < 0.5", r"holds random\(\), which"),
        ("now() > '2020-01-01'", r"holds now\(\), which"),
        ("row_number() over () < 3", "holds a function of several rows; give a condition of one row"),
        ("prompt in (select 'a cat')", "holds a query"),
        ("prompt = $1", "holds a parameter"),
        ("true; drop table rows", "more than one statement; give a condition in SQL, as after WHERE"),
        ("(select count(*) from read_csv('/etc/passwd')) > 1", "holds a query"),
    ],
)
def test_what_is_no_condition_of_a_row_is_refused(text: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said) as refused:
        held(text)
    assert "\n" not in str(refused.value)
