"""Votes as figures, gaps, and what they say of raters and metrics, against computations by hand."""

import math
from dataclasses import replace

import pytest

from darkroom.evaluation.raters import metric_agreement, rater_infos, raters_agreement, two_cells
from darkroom.evaluation.rating_tables import expected_lines, ratings_table
from darkroom.evaluation.ratings import (
    BRADLEY_TERRY,
    WIN_RATE,
    Judgement,
    judgements,
    rated_cells,
    rated_gap,
    rated_gaps,
)
from darkroom.runs.ratings import RatedCell, RatedImage, RatedPair, Study, Vote

A, B, C = "a" * 16, "b" * 16, "c" * 16


def judged(one: str, other: str, score: float, number: int, rater: str = "ann") -> Judgement:
    """`score` of the first; its image is on the left of every second pair."""
    images = tuple(RatedImage(cell, f"{cell[0]}{number}", "") for cell in (one, other))
    left, right = images if number % 2 == 0 else images[::-1]
    return Judgement(rater, RatedPair(f"p{number}", left, right), score if number % 2 == 0 else 1 - score)


def of_two(wins: int, ties: int, losses: int, one: str = A, other: str = B, first: int = 0) -> list[Judgement]:
    scores = [1.0] * wins + [0.5] * ties + [0.0] * losses
    return [judged(one, other, score, first + number) for number, score in enumerate(scores)]


def test_of_two_cells_the_win_rates_add_up_to_one_and_the_gap_is_their_difference() -> None:
    found = rated_cells(of_two(12, 4, 4), [A, B])
    assert found.metrics.keys() == {WIN_RATE}
    first, second = (found.cells[cell].figures[WIN_RATE] for cell in (A, B))
    assert (first.value, second.value, first.num_images) == (0.7, pytest.approx(0.3), 20)
    assert first.low < 0.5 + 0.05
    assert 0.8 < first.high < 1
    gaps = rated_gaps(found, [A, B], 0)
    gap = gaps[B][WIN_RATE]
    assert (gap.base, gap.num_pairs, gaps[A]) == (A, 20, {})
    assert gap.difference == pytest.approx(-0.4)
    alone = rated_gap(of_two(12, 4, 4), A, B, 0)
    assert (alone.low, alone.high) == pytest.approx((gap.low, gap.high), abs=0.05)
    assert alone.difference == gap.difference
    assert alone.low < -0.4 < alone.high


@pytest.mark.parametrize(("wins", "is_told_apart"), [(2, False), (4, False), (8, True), (30, True)])
def test_votes_that_are_all_alike_tell_apart_once_they_are_enough(wins: int, is_told_apart: bool) -> None:
    """As a sign test does: 4 heads of 4 come with p = 0.125, 8 of 8 with 0.008."""
    found = rated_gaps(rated_cells(of_two(wins, 0, 0), [A, B]), [A, B], 0)
    assert found[B][WIN_RATE].is_told_apart == is_told_apart
    assert found[B][WIN_RATE].low >= -1


def test_of_three_cells_there_are_scores_too_and_all_gaps_at_once() -> None:
    votes = [*of_two(30, 0, 10), *of_two(32, 0, 8, A, C, 40), *of_two(26, 0, 14, B, C, 80)]
    found = rated_cells(votes, [A, B, C])
    rates = [found.cells[cell].figures[WIN_RATE].value for cell in (A, B, C)]
    assert rates == [62 / 80, 36 / 80, 22 / 80]
    scores = [found.cells[cell].figures[BRADLEY_TERRY] for cell in (A, B, C)]
    assert sum(score.value for score in scores) == pytest.approx(0)
    assert scores[0].value > scores[1].value > scores[2].value
    gaps = rated_gaps(found, [A, B, C], 0)
    assert gaps[C][WIN_RATE].is_told_apart
    assert gaps[C][BRADLEY_TERRY].is_told_apart
    own = rated_gaps(found, [B, C], 0)
    assert own.keys() == {B, C}
    assert own[C][WIN_RATE].base == B


def test_rates_of_different_opponents_rank_none_and_scores_do() -> None:
    found = rated_cells([*of_two(8, 0, 2), *of_two(8, 0, 2, B, C, 10)], [A, B, C])
    rate = found.cells[A].figures[WIN_RATE]
    assert not rate.is_ranked
    assert "not all cells were rated against each other" in rate.warnings[0]
    assert found.cells[A].figures[BRADLEY_TERRY].is_ranked
    gaps = rated_gaps(found, [A, B, C], 0)
    assert gaps[B].keys() == {BRADLEY_TERRY}


def test_a_cell_without_a_vote_has_no_figure() -> None:
    found = rated_cells(of_two(5, 0, 5), [A, B, C])
    assert math.isnan(found.cells[C].figures[WIN_RATE].value)
    assert found.cells[C].figures[WIN_RATE].warnings == ("no vote is on its pairs",)
    assert rated_gap(of_two(5, 0, 5), A, C, 0) is None


def test_each_two_cells_have_the_rate_of_the_first() -> None:
    [ab, bc] = two_cells([*of_two(6, 2, 2), *of_two(1, 0, 9, B, C, 10)], [A, B, C])
    assert (ab.cell_id, ab.other, ab.num_votes, ab.num_ties, ab.rate.estimate) == (A, B, 10, 2, 0.7)
    assert (bc.cell_id, bc.other, bc.rate.estimate) == (B, C, 0.1)


def test_a_metric_agrees_where_the_chosen_image_has_the_higher_score() -> None:
    votes = of_two(3, 1, 1)  # of prompts 0 to 4: a, a, a, tie, b
    values = {
        "a0": 2.0,
        "b0": 1.0,
        "a1": 1.0,
        "b1": 2.0,
        "a2": 1.0,
        "b2": 1.0,
        "a3": 1.0,
        "b3": 0.0,
        "a4": 0.0,
        "b4": 3.0,
    }
    found = metric_agreement("clip.clip_score", votes, values)
    assert (found.num_votes, found.rate.estimate) == (4, (1 + 0 + 0.5 + 1) / 4)
    assert metric_agreement("clip.clip_score", votes, {"a0": 1.0}) is None


def test_raters_agree_by_images_whatever_their_sides() -> None:
    one = judged(A, B, 1.0, 0)
    turned = replace(one.pair, left=one.pair.right, right=one.pair.left)
    found = raters_agreement([one, Judgement("bo", turned, 0.0), judged(A, B, 1.0, 1)])
    assert (found.num_units, found.same.estimate) == (1, 1.0)


def study() -> Study:
    pairs = [judged(A, B, 1.0, number).pair for number in range(4)]
    again = [replace(pairs[place], left=pairs[place].right, right=pairs[place].left, repeats=place) for place in (0, 1)]
    return Study("Which?", (RatedCell(A, {"x": 1}), RatedCell(B, {"x": 2})), (*pairs, *again))


def test_pairs_that_come_again_say_how_steady_a_rater_is_and_count_nowhere_else() -> None:
    choices = ["left", "tie", "skip", "left", "right", "left"]
    votes = [Vote(place, choice, "ann", place / 2) for place, choice in enumerate(choices)]
    assert [each.pair.prompt for each in judgements(study(), votes)] == ["p0", "p1", "p3"]
    [ann] = rater_infos([(study(), vote) for vote in votes])
    assert (ann.num_votes, ann.num_skipped, ann.num_ties, ann.num_repeats, ann.seconds) == (5, 1, 1, 2, 1.5)
    assert ann.steady.estimate == 0.5  # left and right is the same image; a tie and left is not
    assert ann.left.estimate == 0.75


def test_the_tables_say_it_all() -> None:
    votes = [*of_two(30, 0, 10), *of_two(32, 0, 8, A, C, 40), *of_two(26, 0, 14, B, C, 80)]
    votes += [replace(each, rater="bo") for each in votes[:20]]
    rated = rated_cells(votes, [A, B, C])
    settings = {A: {"x": 1}, B: {"x": 2}, C: {"x": 3}}
    figures = {cell: found.figures for cell, found in rated.cells.items()}
    gaps = rated_gaps(rated, [A, B, C], 0)
    infos = rater_infos([(study(), Vote(0, "left", "ann"))])
    of_metric = metric_agreement("clip.clip_score", votes, {each.pair.left.image_id: 1.0 for each in votes})
    said = ratings_table(
        rated.metrics, figures, settings, gaps, two_cells(votes, [A, B, C]), infos, raters_agreement(votes),
        [of_metric] if of_metric else [],
    )  # fmt: skip
    for words in (
        "raters.win_rate ↑", "raters.bradley_terry ↑", "against", "ann", "Krippendorff's alpha (nominal) 1.00 [0.",
        "agreement on 20 pairs with several raters", "385 votes on different prompts for each two cells, 1,155 in all",
    ):  # fmt: skip
        assert words in " ".join(said.split()), said


def test_what_a_page_will_tell_is_said_before_it_is_sent() -> None:
    said = "\n".join(expected_lines(4, 600))
    assert "each cell's win rate to ± 0.057, those between two cells to ± 0.098" in said
    assert "each cell's" not in "\n".join(expected_lines(2, 400))
