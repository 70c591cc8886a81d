import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.content import CellResult
from darkroom.reporting.ranking import best_cells, dominated, order_all, order_by, pareto_front, rivals
from tests.reporting.contents import metric

FID, CLIP = metric("fid", "FID", False), metric("clip", "CLIP score", True)


def cell(cell_id: str, **values: float) -> CellResult:
    return CellResult(
        cell_id, {}, 1, 0, {name: Figure(value, value - 1, value + 1, 1) for name, value in values.items()}
    )


def sure(cell_id: str, **values: float) -> CellResult:
    """Without intervals, so that any difference counts."""
    return CellResult(cell_id, {}, 1, 0, {name: Figure(value, None, None, 1) for name, value in values.items()})


def test_best_follows_the_metrics_direction_and_keeps_ties() -> None:
    cells = [cell("a", fid=10, clip=3), cell("b", fid=12, clip=5), cell("c", fid=10, clip=4)]
    assert best_cells(cells, FID) == {"a", "c"}
    assert best_cells(cells, CLIP) == {"b"}
    assert [one.cell_id for one in order_by(cells, CLIP)] == ["b", "c", "a"]


def test_missing_and_nan_figures_are_never_best() -> None:
    cells = [cell("a", fid=math.nan), cell("b"), cell("c", fid=50)]
    assert best_cells(cells, FID) == {"c"}
    assert best_cells(cells[:2], FID) == frozenset()


def test_rivals_are_those_whose_interval_reaches_the_best() -> None:
    cells = [cell("best", fid=10), cell("near", fid=12), cell("far", fid=12.1)]
    assert rivals(cells, FID) == {"near"}


def behind(name: str, value: float, low: float, high: float, best: str = "best") -> CellResult:
    gap = Gap(best, value - 10, low, high, 9)
    return CellResult(name, {}, 1, 0, {"fid": Figure(value, value - 1, value + 1, 1)}, {"fid": gap})


def test_measured_differences_say_who_is_a_rival_whatever_the_own_intervals_say() -> None:
    cells = [cell("best", fid=10), behind("worse", 10.5, 0.1, 0.9), behind("same", 13, -1, 7)]
    assert rivals(cells, FID) == {"same"}
    # A difference from a cell that is not the best any more says nothing.
    assert rivals([*cells[:2], behind("old", 13, -1, 7, best="worse")], FID) == frozenset()


def test_who_is_better_over_the_shared_images_is_not_beaten_by_the_best_of_others() -> None:
    """As of a cell that failed on hard prompts, and has the best figure over easy ones."""
    better = behind("better", 12, -3, -1)
    assert rivals([cell("best", fid=10), better], FID) == {"better"}
    assert better.gaps["fid"].is_told_apart


def test_without_intervals_nobody_is_a_rival() -> None:
    bare = [CellResult(name, {}, 1, 0, {"fid": Figure(10.0 + place, None, None, 1)}) for place, name in enumerate("ab")]
    assert rivals(bare, FID) == frozenset()


@pytest.mark.parametrize(
    ("other", "is_beaten"),
    [
        (sure("b", fid=9, clip=5), True),  # better in one, equal in the other
        (sure("b", fid=9, clip=6), True),
        (sure("b", fid=10, clip=5), False),  # equal in both
        (sure("b", fid=9, clip=4), False),  # a trade
        (sure("b", fid=9), False),  # not known in both
        (sure("b", fid=9, clip=math.nan), False),
        (cell("b", fid=9, clip=5), False),  # by chance
        (cell("b", fid=7, clip=5), True),
    ],
)
def test_dominated_means_as_good_in_all_and_better_in_one(other: CellResult, is_beaten: bool) -> None:
    assert ("a" in dominated([cell("a", fid=10, clip=5), other], [FID, CLIP])) is is_beaten


def test_a_metric_that_no_cell_has_does_not_count() -> None:
    assert dominated([sure("a", fid=10), sure("b", fid=9)], [FID, CLIP]) == {"a"}


def test_a_metric_without_an_interval_does_not_grey_beside_one_that_has_it() -> None:
    def both(name: str, fid: float, recall: float) -> CellResult:
        figures = {"fid": Figure(fid, fid - 1, fid + 1, 1), "recall": Figure(recall, None, None, 1)}
        return CellResult(name, {}, 1, 0, figures)

    recall = metric("recall", "Recall", True)
    assert dominated([both("a", 10, 0.8), both("b", 9, 0.9)], [FID, recall]) == frozenset()
    assert dominated([both("a", 10, 0.8), both("b", 7, 0.9)], [FID, recall]) == {"a"}


def test_figures_of_too_few_images_rank_nobody() -> None:
    few = [
        CellResult(name, {}, 1, 0, {"fid": Figure(value, 0, 9, 1, is_ranked=False), "clip": Figure(value, 0, 9, 1)})
        for name, value in (("a", 1.0), ("b", 2.0))
    ]
    assert best_cells(few, FID) == rivals(few, FID) == frozenset()
    assert order_by(few, FID) == []
    assert [one.cell_id for one in order_all(few, [FID, CLIP])] == ["b", "a"]
    assert dominated(few, [FID]) == frozenset(pareto_front(few, FID, CLIP)) == frozenset()


def test_nothing_is_dominated_without_metrics_or_cells() -> None:
    assert dominated([cell("a", fid=1), cell("b", fid=2)], []) == frozenset()
    assert dominated([], [FID]) == frozenset()


def test_the_front_runs_along_the_first_metric() -> None:
    cells = [cell("a", fid=10, clip=5), cell("b", fid=8, clip=3), cell("c", fid=9, clip=2), cell("d", fid=9)]
    assert pareto_front(cells, CLIP, FID) == ("b", "a")
    assert pareto_front(cells, FID, CLIP) == ("b", "a")


def test_all_cells_are_ordered_dominated_ones_and_those_without_figures_later() -> None:
    cells = [cell("beaten", fid=11, clip=1), cell("none"), cell("a", fid=10, clip=5), cell("b", fid=8, clip=3)]
    assert [one.cell_id for one in order_all(cells, [FID, CLIP])] == ["b", "a", "none", "beaten"]
    assert order_all(cells, []) == cells


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_the_front_is_what_no_pairwise_comparison_beats(pairs: list[tuple[int, int]]) -> None:
    cells = [sure(str(place), fid=fid, clip=clip) for place, (fid, clip) in enumerate(pairs)]
    beaten = {
        str(one)
        for (one, (fid, clip)), (_, (fid2, clip2)) in itertools.product(enumerate(pairs), repeat=2)
        if fid2 <= fid and clip2 >= clip and (fid2 < fid or clip2 > clip)
    }
    assert dominated(cells, [FID, CLIP]) == beaten
    assert set(pareto_front(cells, FID, CLIP)) == {one.cell_id for one in cells} - beaten
