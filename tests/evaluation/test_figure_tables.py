import math
from dataclasses import replace

import numpy as np
import pytest

from darkroom.evaluation.figure_tables import cell_names, comparison_table, costs_table, figures_table
from darkroom.evaluation.figures import Control, Figure, Gap, Metric
from darkroom.evaluation.gaps import Verdict, differences, verdict
from darkroom.evaluation.measuring import metric_infos
from tests.evaluation.sets import CLIP, cell, figures_of, images, reference, statistics


def info(name: str, higher: bool) -> Metric:
    return Metric(name, name, higher, "the formula", "the interval", "e", "id", "w", "r", "", "")


def figure(value: float, low: float | None = None, high: float | None = None, *warnings: str) -> Figure:
    return Figure(value, low, high, 20, None, warnings)


INFOS = {"e.score": info("e.score", True), "e.distance": info("e.distance", False)}
CELLS = {
    "c1": {"e.score": figure(0.5, 0.41, 0.62), "e.distance": figure(12.3456, 10, 14)},
    "c2": {"e.score": figure(0.25, 0.2, 0.3), "e.distance": figure(3.5, None, None, "too few")},
    "c3": {
        "e.score": figure(math.nan, None, None, "e.score: no captions"),
        "e.distance": figure(40.0, 39, 41, "too few"),
    },
}
GAPS = {
    "c1": {"e.distance": Gap("c2", 8.8456, -0.5, 18.125, 20)},
    "c2": {"e.score": Gap("c1", -0.25, -0.3125, -0.125, 20)},
    "c3": {"e.distance": Gap("c2", 36.5, 30, 40, 20)},
}
SETTINGS = {
    "c1": {"sampling.guidance_scale": 1.0, "sampling.num_inference_steps": 20},
    "c2": {"sampling.guidance_scale": 2.5, "sampling.num_inference_steps": 20},
    "c3": {"sampling.guidance_scale": 4.0, "sampling.num_inference_steps": 20},
}


def test_what_ranks_no_cell_stands_last_and_what_has_no_interval_says_what_chance_may_do() -> None:
    few = {
        name: {"e.distance": replace(figure(value, 0, 9), is_ranked=False), "e.score": figure(value)}
        for name, value in (("c1", 1.0), ("c2", 2.0))
    }
    infos = dict(reversed(INFOS.items()))
    text = figures_table(infos, few, SETTINGS, {})
    headings, *lines = text.splitlines()
    assert headings.split() == ["guidance_scale", "e.score", "↑", "e.distance", "↓"]
    assert [line.count("*") for line in lines[:2]] == [0, 1]
    assert "e.score: without intervals, so that chance may have chosen the best" in lines
    nothing = {name: {"e.score": figure(math.nan)} for name in few}
    assert "without intervals" not in figures_table(infos, nothing, SETTINGS, {})


CONTROLS = {
    "real": Control({"e.distance": replace(figure(1.25, 1, 1.5, "too few"), is_ranked=False)}, "20 images"),
    "shuffled": Control({}, "no row: why"),
}


def test_rows_of_known_images_stand_below_the_cells_and_are_never_best() -> None:
    lines = figures_table(INFOS, CELLS, SETTINGS, GAPS, CONTROLS).splitlines()
    assert lines[2].rstrip().endswith("*"), "the best cell, though the row below is better"
    assert lines[4].split() == ["real", "1.25", "[1.00,", "1.50]"]
    assert not any(line.startswith("shuffled ") for line in lines)
    assert lines[-4:-2] == ["real: 20 images", "shuffled: no row: why"]
    assert lines[-2] == "warning: e.distance: too few (2 of 3 cells)", "of cells alone"


def test_one_cell_has_a_column_for_each_such_row() -> None:
    one = {"c1": CELLS["c1"]}
    lines = figures_table(INFOS, one, SETTINGS, {}, CONTROLS).splitlines()
    assert [lines[0].split()[-1], lines[2].split()[-1]] == ["real", "1.25"]
    assert lines[1].split()[-1] == "20"


def test_a_sweeps_table_has_a_line_a_cell_and_marks_the_best() -> None:
    lines = figures_table(INFOS, CELLS, SETTINGS, GAPS).splitlines()
    assert [line.rstrip() for line in lines[:4]] == [
        "guidance_scale                e.score ↑           e.distance ↓",
        "1               0.5000 [0.4100, 0.6200]*  12.35 [10.00, 14.00]≈",
        "2.5             0.2500 [0.2000, 0.3000]    3.50               *",
        "4                    -                    40.00 [39.00, 41.00]",
    ]
    assert [line.rstrip() for line in lines[5:11]] == [
        "differences from each column's best, image by image, with their 95 % intervals:",
        "",
        "guidance_scale                     e.score              e.distance",
        "1                       -                 *   +8.85 [-0.50, 18.12]≈",
        "2.5             -0.2500 [-0.3125, -0.1250]          -             *",
        "4                       -                    +36.50 [30.00, 40.00]",
    ]
    assert "e.distance: the formula" in lines
    assert lines[-2:] == ["warning: e.distance: too few (2 of 3 cells)", "warning: e.score: no captions (1 of 3 cells)"]


def test_a_wide_table_is_cut_between_metrics_and_repeats_the_settings() -> None:
    names = [f"extractor.metric_number_{number}" for number in range(7)]
    infos = {name: info(name, True) for name in names}
    cells = {cell_id: {name: figure(1.5, 1.25, 1.75) for name in names} for cell_id in CELLS}
    text = figures_table(infos, cells, SETTINGS, {})
    tables = text.split("\n\n* best")[0].split("\n\n")
    assert len(tables) > 1
    assert max(map(len, text.splitlines())) <= 120
    assert all(table.startswith("guidance_scale") for table in tables)
    assert [name for table in tables for name in names if name in table] == names


def test_a_plain_runs_table_has_a_line_a_metric() -> None:
    shown, real = images(30), reference(40)
    infos = metric_infos(CLIP, real, None, "hessel")
    figures = figures_of(shown, CLIP, real, None, "hessel", 0)
    lines = figures_table(infos, {"c": figures}, {"c": {}}, {}).splitlines()
    table = lines[: len(figures) + 1]
    assert table[0].split() == ["metric", "figure", "95", "%", "interval", "images", "reference"]
    for line, (name, found) in zip(table[1:], figures.items(), strict=True):
        assert line.split()[0] == name
        assert ("[" in line) == (found.low is not None)
        assert line.split()[-1] == ("40" if found.num_reference else "30")
    assert (
        len({line.index("↓") for line in table if "↓" in line} | {line.index("↑") for line in table if "↑" in line})
        == 1
    )
    assert "compared with real" in lines


def test_what_could_not_be_computed_is_a_dash_with_its_reason_below() -> None:
    infos = metric_infos(CLIP, statistics(), None, "hessel")
    figures = figures_of(images(30), CLIP, statistics(), None, "hessel", 0)
    text = figures_table(infos, {"c": figures}, {"c": {}}, {})
    assert "nan" not in text
    names = ", ".join(f"demo_clip.{name}" for name in ("kid", "cmmd", "precision", "recall", "density", "coverage"))
    assert f"warning: {names}: needs the features of reference images" in text


@pytest.mark.parametrize(
    ("higher", "low", "high", "tolerance", "expected"),
    [
        (True, -0.3, -0.1, 0, Verdict.WORSE),
        (False, -0.3, -0.1, 0, Verdict.BETTER),
        (True, 0.1, 0.3, 0, Verdict.BETTER),
        (False, 0.1, 0.3, 0, Verdict.WORSE),
        (True, -0.3, 0.1, 0, Verdict.OPEN),
        (True, -0.3, -0.1, 0.1, Verdict.OPEN),  # the interval reaches the tolerance
        (True, -0.3, -0.1, 0.09, Verdict.WORSE),
        (False, 0.1, 0.3, 0.2, Verdict.OPEN),
        (True, 0.0, 0.0, 0, Verdict.OPEN),
    ],
)
def test_worse_is_a_whole_interval_beyond_the_tolerance(
    higher: bool, low: float, high: float, tolerance: float, expected: Verdict
) -> None:
    found = Gap("a", (low + high) / 2, low, high, num_pairs=9)
    assert verdict(info("e.m", higher), found, tolerance) is expected


def test_the_comparison_shows_both_values_the_difference_and_the_verdict() -> None:
    base, worse = cell(60), cell(60, seed=1, shift=1.0)
    infos = metric_infos(CLIP, reference(60), ["frechet"], "hessel")
    found = differences({"a": base, "b": worse}, "a", CLIP, reference(60), ["frechet"], "hessel", 0)["b"]
    header, line, *_ = comparison_table(infos, found, 0).splitlines()
    assert header.split()[:4] == ["metric", "a", "b", "b"]
    one = found["demo_clip.frechet"]
    shown = [float(text) for text in line.replace("[", "").replace("]", "").replace(",", "").split()[2:7]]
    np.testing.assert_allclose(shown, [one.base_value, one.value, one.difference, one.low, one.high], rtol=2e-3)
    assert line.endswith("b is worse")


def test_what_speed_costs_has_a_line_a_cell() -> None:
    lost = {"e.distance": Gap("c9", 0.5, -0.25, 1.0, 20), "e.score": Gap("c9", -0.5, -0.75, -0.25, 20)}
    costs = {"c1": lost, "c2": {}}
    lines = costs_table(INFOS, {"c1": "cache_interval=2"}, costs).splitlines()
    assert [line.rstrip() for line in lines[2:]] == [
        "with              cell                     e.score               e.distance",
        "cache_interval=2  c1    -0.5000 [-0.7500, -0.2500]   +0.500 [-0.250, 1.000]≈",
    ]


def test_a_warning_of_several_figures_is_said_once() -> None:
    cells = {name: {metric: figure(1.0, 0, 2, "too few prompts") for metric in INFOS} for name in ("c1", "c2")}
    cells["c1"]["e.score"] = figure(1.0, 0, 2, "too few prompts", "cut")
    warnings = [line for line in figures_table(INFOS, cells, SETTINGS, {}).splitlines() if line.startswith("warning")]
    assert warnings == [
        "warning: e.score, e.distance: too few prompts (2 of 2 cells)",
        "warning: e.score: cut (1 of 2 cells)",
    ]


def test_a_comparison_says_what_its_intervals_hold_for() -> None:
    text = comparison_table(INFOS, {"e.score": Gap("a", 0.5, 0.25, 0.75, 20, 1.0, 0.5)}, 0)
    assert "Intervals, of 95 %, cover the figure of other prompts" in text
    assert "hold for all metrics of a comparison at once" in " ".join(text.split())


def test_cells_that_are_all_equal_have_no_best() -> None:
    level = {name: {"e.score": figure(0.5, 0.4, 0.6)} for name in ("c1", "c2")}
    text = figures_table({"e.score": INFOS["e.score"]}, level, SETTINGS, {})
    assert text.count("0.5000 [0.4000, 0.6000]=") == 2
    assert "= equal in all cells: none is best" in text
    assert "= equal" not in figures_table(INFOS, CELLS, SETTINGS, GAPS)


def test_long_settings_of_several_lines_are_told_apart_in_one_line() -> None:
    words = "blurry, " * 20
    settings = {name: {"sampling.negative_prompt": f"{words}\n\n{name}"} for name in "ab"}
    assert cell_names("ab", settings) == [["negative_prompt"], [f"{words[:39]}…"], [f"{words[:39]}… (2)"]]
