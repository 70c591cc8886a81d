"""Win rates, Bradley-Terry scores and agreement, against computations by hand and what their definitions say."""

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.paired_comparisons import (
    Comparisons,
    agreement,
    bradley_terry,
    half_width,
    share,
    votes_needed,
    win_rates,
    with_added,
)
from darkroom.evaluation.resampling import expanded


def comparisons(*votes: tuple[int, int, float], prompts: list[int] | None = None, num_items: int = 3) -> Comparisons:
    first, second, scores = zip(*votes, strict=True)
    numbered = list(range(len(votes))) if prompts is None else prompts
    return Comparisons(np.array(first), np.array(second), np.array(scores, float), np.array(numbered), num_items)


VOTES = ((0, 1, 1.0), (0, 1, 1.0), (1, 0, 1.0), (0, 2, 0.5), (2, 1, 0.0), (2, 1, 0.5), (2, 0, 0.0))


def test_win_rates_are_shares_with_ties_as_half() -> None:
    """0: 2 of 3 against 1, and 1.5 of 2 against 2; 1: 1 of 3 and 1.5 of 2; 2: 0.5 of 2 and 0.5 of 2."""
    np.testing.assert_allclose(win_rates(comparisons(*VOTES)).values, [3.5 / 5, 2.5 / 5, 1 / 4])


def test_of_two_items_the_interval_is_agresti_and_coulls() -> None:
    """14 of 20: (14 + 2) / 24, and the standard error of a share of 24."""
    found = win_rates(comparisons(*[(0, 1, float(number < 14)) for number in range(20)], num_items=2))
    assert found.values[0] == 14 / 20
    assert found.centres[0] == pytest.approx(16 / 24)
    error = (16 / 24 * 8 / 24 / 24) ** 0.5
    assert found.influence[:, 0].std() / 24**0.5 == pytest.approx(error)
    np.testing.assert_allclose(found.influence.mean(axis=0), 0, atol=1e-12)
    interval, width = found.interval(0, 0, 1), expanded(1.96, 24) * error
    assert (interval.low, interval.high) == pytest.approx((16 / 24 - width, 16 / 24 + width), abs=0.02)


@pytest.mark.parametrize(("count", "lowest", "highest"), [(2, 0.1, 0.5), (6, 0.45, 0.6), (40, 0.86, 0.95)])
def test_few_votes_that_are_all_alike_show_little(count: int, lowest: float, highest: float) -> None:
    found = share(np.ones(count), np.arange(count))
    assert (found.estimate, found.high) == (1.0, 1.0)
    assert lowest < found.low < highest


@pytest.mark.parametrize(("rate", "count"), [(0.8, 10), (0.97, 40), (0.5, 100)])
def test_intervals_of_shares_hold_the_truth_95_times_in_100(rate: float, count: int) -> None:
    """By the standard error of the influence values, which the bootstrap's is but for its own noise."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(500):
        won = (rng.random(count) < rate).astype(float)
        found = win_rates(comparisons(*[(0, 1, each) for each in won], num_items=2))
        width = 1.96 * found.influence[:, 0].std() / len(found.influence) ** 0.5
        held += abs(found.centres[0] - rate) <= width
    assert held / 500 > 0.92


def test_votes_on_one_prompt_count_as_one_draw() -> None:
    """Ten raters who say the same of each of 20 prompts are 20 draws."""
    won = np.arange(20) % 2
    each = share(won, np.arange(20))
    many = share(np.repeat(won, 10), np.repeat(np.arange(20), 10))
    assert many.high - many.low == pytest.approx(each.high - each.low, rel=0.2)


def test_added_votes_are_four_an_item_half_of_them_won() -> None:
    found = with_added(comparisons(*VOTES))
    added = slice(len(VOTES), None)
    for item in range(3):
        of_item = np.where(found.first == item, found.scores, 1 - found.scores)[added]
        has_item = ((found.first == item) | (found.second == item))[added]
        assert found.weight[added][has_item].sum() == pytest.approx(4)
        assert (of_item * found.weight[added])[has_item].sum() == pytest.approx(2)
    assert found.num_prompts == len(VOTES) + 4


def test_bradley_terry_scores_expect_as_many_wins_as_there_were() -> None:
    votes = comparisons(*VOTES, (0, 1, 1.0), (1, 2, 1.0))
    found, all_votes = bradley_terry(votes), with_added(votes)
    assert found.values.sum() == pytest.approx(0)
    chance = 1 / (1 + np.exp(found.values[all_votes.second] - found.values[all_votes.first]))
    won = all_votes.of_items(all_votes.scores * all_votes.weight, (1 - all_votes.scores) * all_votes.weight)
    expected = all_votes.of_items(chance * all_votes.weight, (1 - chance) * all_votes.weight)
    np.testing.assert_allclose(won.sum(axis=0), expected.sum(axis=0), atol=1e-8)


def test_of_two_items_the_scores_differ_by_the_log_odds() -> None:
    found = bradley_terry(comparisons(*[(0, 1, float(number < 14)) for number in range(20)], num_items=2))
    assert found.values[0] - found.values[1] == pytest.approx(np.log(16 / 8))


def test_scores_of_a_known_law_are_found_within_their_intervals() -> None:
    rng, truth = np.random.default_rng(0), np.array([0.8, 0.0, -0.8])
    twos = np.array([(0, 1), (0, 2), (1, 2)])[np.arange(1200) % 3]
    chance = 1 / (1 + np.exp(truth[twos[:, 1]] - truth[twos[:, 0]]))
    votes = Comparisons(twos[:, 0], twos[:, 1], (rng.random(1200) < chance).astype(float), np.arange(1200), 3)
    found = bradley_terry(votes)
    errors = found.influence.std(axis=0) / len(found.influence) ** 0.5
    assert (np.abs(found.values - truth) < 2.5 * errors).all()
    assert (errors < 0.1).all()


def test_influence_is_what_a_prompt_moves_the_scores_by() -> None:
    votes = comparisons(*VOTES * 20)
    found = bradley_terry(votes)
    more = Comparisons(
        votes.first, votes.second, votes.scores, votes.prompts, 3, np.ones(140) + 0.01 * (np.arange(140) == 4)
    )
    moved = bradley_terry(more).values - found.values
    np.testing.assert_allclose(moved * found.influence.shape[0] / 0.01, found.influence[4], rtol=0.02)


def test_items_that_no_votes_connect_have_no_scores() -> None:
    with pytest.raises(DarkroomError, match="do not connect all cells"):
        bradley_terry(comparisons((0, 1, 1.0), (2, 3, 0.0), num_items=4))


def test_the_rule_of_how_many_votes_is_that_of_a_share() -> None:
    assert votes_needed(0.05) == 385  # 1.96^2 / 4 / 0.05^2 = 384.1
    assert half_width(385) == pytest.approx(0.05, rel=2e-3)


# Two observers of ten units, binary data (Krippendorff, "Computing Krippendorff's alpha-reliability", 2011),
# whose alpha is 0.095; here either image may be called first, so that both values are as frequent by chance.
FIRST = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0]
OTHER = [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]


def test_alpha_is_that_of_a_computation_by_hand() -> None:
    """6 of 10 units agree: 12 of 20 coincidences, of which (20^2 - 2 * 10^2) / 19 / 20 differ by chance."""
    counts = np.array([np.bincount([2 * one, 2 * other], minlength=3) for one, other in zip(FIRST, OTHER, strict=True)])
    found = agreement(counts, range(10))
    assert found.same.estimate == 0.6
    assert found.alpha.estimate == pytest.approx(1 - (8 / 20) / (200 / 19 / 20))
    assert found.alpha.low < found.alpha.estimate < found.alpha.high
    turned = agreement(counts[:, ::-1], range(10))
    assert turned.alpha == found.alpha


def test_raters_who_always_agree_or_never_meet() -> None:
    always = agreement(np.array([[2, 0, 0], [0, 0, 3], [0, 2, 0]]), [0, 1, 2])
    assert (always.same.estimate, always.alpha.estimate) == (1.0, 1.0)
    assert always.same.low < 0.8
    assert agreement(np.array([[1, 0, 0], [0, 0, 1]]), [0, 1]) is None
    assert agreement(np.zeros((0, 3), int), []) is None
