"""Which setting, and how sure: chosen metrics, agreement, trade-offs, ties and doubts."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.columns import MetricColumn, metric_columns
from darkroom.reporting.content import Axis, CellResult, ReportContent
from darkroom.reporting.decision import Decision, decision, key_columns, why_these
from tests.reporting.contents import METRICS, metric

AXIS = Axis("num_inference_steps", (10, 20, 40))
FID, CLIP = metric("a.fid", "FID", False), metric("b.clip_score", "CLIP score", True)


def cells(values: Mapping[str, tuple[float, ...]], width: float = 0.1) -> list[CellResult]:
    """A cell a step count, with these values by metric."""
    rows = zip(AXIS.values, *values.values(), strict=False)
    return [
        CellResult(
            f"c{steps}",
            {"num_inference_steps": steps},
            9,
            0,
            {name: Figure(value, value - width, value + width, 9) for name, value in zip(values, row, strict=True)},
        )
        for steps, *row in rows
    ]


def decided(found: list[CellResult], *metrics) -> Decision | None:
    keys = key_columns([MetricColumn(each, found) for each in metrics])
    return decision(found, [AXIS], keys)


def test_a_question_is_answered_by_its_first_metric_that_ranks_cells() -> None:
    found = cells({"a.fid": (3, 2), "a.kid": (1, 2), "a.vendi": (4, 5), "a.precision": (1, 1), "b.clip_score": (1, 2)})
    unranked = [
        replace(cell, figures={**cell.figures, "a.fid": replace(cell.figures["a.fid"], is_ranked=False)})
        for cell in found
    ]
    names = ("a.fid", "a.precision", "a.vendi", "a.kid", "b.clip_score")
    columns = [MetricColumn(metric(name, name[2:], True), unranked) for name in names]
    keys = key_columns(columns)
    assert [column.metric.name for column in keys] == ["a.kid", "b.clip_score", "a.vendi"]
    assert why_these(keys, columns).endswith("The table has 2 more.")
    assert why_these(keys, keys) == ""


def test_closeness_to_each_of_several_references_is_a_question_of_its_own() -> None:
    names = ("a.fid@one", "a.fid@two", "a.kid@one", "a.vendi")
    columns = [MetricColumn(metric(name, name, True), cells(dict.fromkeys(names, (3, 2)))) for name in names]
    keys = key_columns(columns)
    assert [column.metric.name for column in keys] == ["a.fid@one", "a.fid@two", "a.vendi"]
    assert "a.fid@one for closeness to one, a.fid@two for closeness to two" in why_these(keys, columns)


def test_what_people_choose_is_asked_first() -> None:
    found = cells({"b.clip_score": (1, 2), "raters.win_rate": (0.7, 0.3), "raters.bradley_terry": (1, -1)})
    people = [metric(f"raters.{name}", name, True, extractor="raters") for name in ("win_rate", "bradley_terry")]
    keys = key_columns([MetricColumn(each, found) for each in (CLIP, *people)])
    assert [column.metric.name for column in keys] == ["raters.win_rate", "b.clip_score"]


def test_one_cell_that_all_metrics_agree_on_is_named() -> None:
    found = decided(cells({"a.fid": (5, 1, 5), "b.clip_score": (1, 5, 1)}), FID, CLIP)
    assert found
    assert found.text == ("num_inference_steps 20: best, or not told apart from the best, by FID and CLIP score.")
    assert found.cell_ids == ("c20",)


def test_cells_that_share_the_best_are_all_named_and_the_cheapest_is_said() -> None:
    found = decided(cells({"a.fid": (5, 1, 1.1)}), FID)
    assert found
    assert found.cell_ids == ("c20", "c40")
    assert found.text.startswith("2 of 3 cells share the best by FID: num_inference_steps 20; num_inference_steps 40.")
    assert found.text.endswith("Their fewest steps are 20: num_inference_steps 20.")
    others = [replace(cells({"a.fid": (value,)})[0], cell_id=str(value)) for value in (1.1, 9)]
    many = decided([*cells({"a.fid": (1.2, 1, 1.1)}), *others], FID)
    assert many
    first = "4 of 5 cells share the best by FID: first among them by FID num_inference_steps 20."
    assert many.text.startswith(first)
    assert many.text.endswith("Their fewest steps are 10, in 2 of them.")


def test_settings_that_none_of_many_best_cells_has_are_said() -> None:
    found = cells({"a.fid": (9, 1, 1.1)})
    alike = [replace(found[1], cell_id=str(number)) for number in range(2)]
    many = decided([*found, *alike], FID)
    assert many
    assert "num_inference_steps 20. None of them has num_inference_steps 10." in many.text


def test_metrics_that_disagree_leave_the_choice_open() -> None:
    found = decided(cells({"a.fid": (1, 5, 9), "b.clip_score": (1, 5, 9)}), FID, CLIP)
    assert found
    assert found.text.startswith("No setting is best by all of FID and CLIP score. Best FID: num_inference_steps 10; ")
    assert found.cell_ids == ()


def test_cells_that_nothing_tells_apart_are_said_to_be_so() -> None:
    found = decided(cells({"a.fid": (1, 1.1, 1.2)}, width=1), FID)
    assert found
    assert found.text == "No setting is shown to be better than the others by FID."
    assert found.doubt.startswith("9 images a cell")


@pytest.mark.parametrize(
    ("change", "doubt"),
    [
        (lambda cell: replace(cell, figures={"a.fid": replace(cell.figures["a.fid"], low=None)}), "chance"),
        (lambda cell: cell, "of the figures themselves"),
        (lambda cell: replace(cell, gaps={"a.fid": Gap("c10", 4, 3, 5, 9)}), "image by image"),
    ],
)
def test_how_sure_it_is_depends_on_what_was_measured(change, doubt: str) -> None:
    found = decided([change(cell) for cell in cells({"a.fid": (1, 5)})], FID)
    assert found
    assert doubt in found.doubt


def test_nothing_is_decided_of_one_cell_or_without_figures() -> None:
    assert decided(cells({"a.fid": (1,)}), FID) is None
    assert decided(cells({"a.fid": (1, 2)}), CLIP) is None
    assert key_columns(metric_columns(ReportContent("", (), "", (), (), METRICS))) == []
