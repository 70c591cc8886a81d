"""Figures out of timings, and the table and JSON out of figures."""

import json
from pathlib import Path

import pytest

from darkroom.bench.figure import Figure, Reach, Timing, alternated, as_json, as_table, ratios
from tests.bench.painting import setting


def figure(*values: float, reach: Reach | None = None, skipped: str | None = None) -> Figure:
    return Figure("speed", "this over that", "x", values, reach, {"this": [Timing(8, 2.0)]}, skipped=skipped)


def test_a_ratio_is_of_rates_repeat_by_repeat() -> None:
    assert ratios([Timing(8, 2.0), Timing(9, 1.0)], [Timing(4, 2.0), Timing(3, 1.0)]) == [2.0, 3.0]


def test_a_figure_is_the_median_with_its_extremes() -> None:
    found = figure(3.0, 1.0, 1.5)
    assert (found.value, found.spread) == (1.5, (1.0, 3.0))


@pytest.mark.parametrize(
    ("value", "reach", "reached"),
    [(2.0, Reach(1.5), True), (1.0, Reach(1.5), False), (1.0, Reach(3, at_least=False), True), (1.0, None, None)],
)
def test_a_figure_knows_whether_it_reaches(value: float, reach: Reach | None, reached: bool | None) -> None:
    assert figure(value, reach=reach).reached is reached


def test_the_table_says_what_was_missed_and_what_was_skipped() -> None:
    table = as_table([figure(1.0, reach=Reach(1.5)), figure(skipped="needs a GPU")])
    heading, missed, skipped = table.splitlines()
    assert heading.startswith("figure")
    assert ">= 1.5" in missed
    assert "NO" in missed
    assert skipped.endswith("skipped  needs a GPU")


def test_json_holds_every_repeats_seconds() -> None:
    value = json.loads(json.dumps(as_json([figure(1.0)], {"cores": 2}, {"scale": 1.0})))
    assert value["figures"][0]["timings"] == {"this": [{"count": 8, "seconds": 2.0}]}


def test_variants_alternate_and_every_second_repeat_goes_backwards(tmp_path: Path) -> None:
    seen: list[Path] = []

    def variant(folder: Path) -> Timing:
        seen.append(folder)
        return Timing(1, 1.0)

    timings = alternated(setting(tmp_path, num_repeats=2), {"one": variant, "other way": variant})
    assert [folder.name for folder in seen] == ["one-0", "other-way-0", "other-way-1", "one-1"]
    assert {name: len(each) for name, each in timings.items()} == {"one": 2, "other way": 2}
