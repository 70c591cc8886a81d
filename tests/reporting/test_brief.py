"""An evaluation in brief: within a terminal's width, with the decision first."""

from dataclasses import replace

from darkroom.evaluation.figures import Control, Figure
from darkroom.reporting.brief import WIDTH, in_brief
from tests.reporting.contents import METRICS, sweep


def test_a_large_sweep_is_a_decision_the_cells_that_matter_and_each_warning_once() -> None:
    content = sweep()
    long = tuple(replace(metric, name=f"{metric.name}_of_many.{metric.name}") for metric in METRICS)
    renamed = {metric.name: other.name for metric, other in zip(METRICS, long, strict=True)}
    cells = [
        replace(cell, figures={renamed[name]: figure for name, figure in cell.figures.items()})
        for cell in content.cells
    ]
    text = in_brief(cells, content.axes, long, {})
    lines = text.splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert len(lines) < 40
    assert "FID and CLIP score" in lines[0] + lines[1]
    best = [line for line in lines if "*" in line and "[" in line]
    assert len(best) == 2
    assert text.count("fewer than 2048 images") == 1
    assert "(3 of 45 cells)" in text


def test_one_cell_is_a_line_a_metric() -> None:
    content = sweep()
    lines = in_brief(content.cells[:1], (), METRICS, {}).splitlines()
    assert [line.split()[0] for line in lines[1:4]] == [metric.name for metric in METRICS]
    assert "[" in lines[1]


def test_rows_of_known_images_stand_below_the_cells_and_of_one_cell_beside_its_figures() -> None:
    content, name = sweep(), METRICS[0].name
    controls = {"real": Control({name: Figure(0.5, 0.25, 0.75, 60, is_ranked=False)}, "60 images")}
    text = in_brief(content.cells, content.axes, METRICS, controls)
    [row] = [line for line in text.splitlines() if line.startswith("real  ")]
    assert row.split() == ["real", "0.50", "[0.25,", "0.75]"]
    assert "real: 60 images" in text.splitlines()
    lines = in_brief(content.cells[:1], (), METRICS, controls).splitlines()
    assert lines[0].split()[-1] == "real"
    assert lines[1].split()[-1] == "0.50"
