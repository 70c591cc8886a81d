import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.resampling import (
    bonferroni,
    by_prompt,
    direction,
    distance_interval,
    expanded,
    joint_margins,
    joint_margins_of_pairs,
    margin,
    number_interval,
    sample_keys,
    share_interval,
    subset,
)


@pytest.mark.parametrize("num_draws", [25, 60])
@pytest.mark.parametrize("law", ["normal", "exponential", "uniform"])
def test_intervals_of_a_mean_hold_the_truth_95_times_in_100(law: str, num_draws: int) -> None:
    """Student's alone holds that of 40 exponential draws 92 times."""
    draws = getattr(np.random.default_rng(0), law)(size=(1500, num_draws))
    truth = {"normal": 0.0, "exponential": 1.0, "uniform": 0.5}[law]
    held = np.mean([abs(scores.mean() - truth) <= margin(scores - scores.mean()) for scores in draws])
    assert 0.93 <= held <= 0.97


def test_a_mean_of_normals_has_the_textbook_width() -> None:
    scores = np.random.default_rng(0).normal(3, 2, size=5000)
    assert margin(scores) == pytest.approx(1.96 * scores.std() / np.sqrt(5000), rel=0.01)


def test_pairs_show_what_own_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 1, size=300)  # some prompts are harder in both sets
    first, second = prompts + rng.normal(0.05, 0.05, 300), prompts + rng.normal(0, 0.05, 300)
    difference = first - second
    assert difference.mean() > joint_margins(difference[:, None]).widths[0]
    assert first.mean() - margin(first) < second.mean() + margin(second)


@pytest.mark.parametrize(
    ("num_hits", "num_draws", "low", "high"),
    [(12, 12, 0.7575, 1), (0, 20, 0, 0.1611), (15, 20, 0.5313, 0.8881), (1, 50, 0.0035, 0.1050)],
)
def test_a_share_has_wilsons_interval(num_hits: int, num_draws: int, low: float, high: float) -> None:
    """As statsmodels' proportion_confint has it, to what n - 1 draws for n make."""
    hits = np.arange(num_draws) < num_hits
    found = share_interval(hits.mean(), hits - hits.mean())
    assert found == pytest.approx((low, high), abs=0.012)


def test_a_squared_distances_interval_is_about_its_logarithm() -> None:
    """Counted from 0, wherever the figure counts from."""
    low, high = distance_interval(4.0, 2.0, squared=4.0)
    assert (low * high, high / low) == pytest.approx((16, np.exp(1)))
    assert distance_interval(1.0, 2.0, squared=4.0) == pytest.approx((low - 3, high - 3))
    assert distance_interval(4.0, 2.0, squared=4.0, curvature=9.0) == (low, 15)


@pytest.mark.parametrize("squared", [0.0, -0.5, 1e-300])
def test_of_a_distance_of_nothing_the_width_alone_says_how_far_it_may_be(squared: float) -> None:
    low, high = distance_interval(squared, 2.0, squared)
    assert squared - 2 < low < squared < squared + 2 < high < squared + 20
    assert distance_interval(squared, 0.0, squared) == (squared, squared)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("dimension", [2, 30])
def test_intervals_of_squared_means_hold_what_is_expected(dimension: int, shift: float) -> None:
    """Of 40 draws: where the mean is 0 and where it is not, of few dimensions and of many."""
    rng, found = np.random.default_rng(0), []
    for _ in range(1500):
        draws = rng.normal(shift, 1, (40, dimension))
        mean = draws.mean(axis=0)
        squared, influence = float(mean @ mean), 2 * (draws - mean) @ mean
        found.append(distance_interval(squared, margin(influence), squared))
    lows, highs = np.array(found).T
    truth = dimension * (shift**2 + 1 / 40)
    assert 0.93 <= ((lows <= truth) & (truth <= highs)).mean() <= 0.995


def test_an_effective_number_lies_between_1_and_the_most_there_can_be() -> None:
    low, high = number_interval(3.0, 0.5, most=8.0, noise=0.0)
    assert 1 < low < 3 < high < 8
    assert np.log(low) * np.log(high) == pytest.approx(np.log(3) ** 2)
    assert number_interval(7.9, 3.0, most=8.0, noise=0.1)[1] == pytest.approx(8)
    assert number_interval(1.0, 0.0, most=8.0, noise=0.0) == (1, 1)
    assert low < number_interval(3.0, 0.5, most=8.0, noise=np.log(8 / 3))[0], "of noise alone it varies less"


def test_values_by_prompt_are_what_a_mean_loses_without_each() -> None:
    scores, prompts = np.array([1.0, 2.0, 4.0, 5.0, 8.0, 7.0]), np.array(["b", "a", "b", "b", "a", "c"])
    lost = [2 * (scores.mean() - scores[prompts != name].mean()) for name in ("b", "a", "c")]
    np.testing.assert_allclose(by_prompt(scores - scores.mean(), prompts.tolist()), lost)
    values = np.arange(4.0)
    assert by_prompt(values, None) is values
    np.testing.assert_array_equal(by_prompt(values, ["a"] * 4), values)


def test_weights_of_a_direction_move_a_mean_by_its_standard_error() -> None:
    scores, prompts = np.random.default_rng(0).normal(size=60), [str(row // 3) for row in range(60)]
    own, of_prompts = scores - scores.mean(), scores.reshape(20, 3).mean(axis=1)
    assert direction(own, None) @ scores == pytest.approx(scores.std(ddof=1) / 60**0.5)
    assert direction(own, prompts) @ scores == pytest.approx(of_prompts.std(ddof=1) / 20**0.5)
    assert direction(own, prompts).sum() == pytest.approx(0, abs=1e-15)
    assert not direction(own * 0, prompts).any()


@pytest.mark.slow
@pytest.mark.parametrize(("by", "lowest", "highest"), [("image", 0.7, 0.88), ("prompt", 0.92, 0.98)])
def test_prompts_are_what_is_to_be_resampled(by: str, lowest: float, highest: float) -> None:
    """100 prompts of 4 images, whose prompt says as much as their noise: by images, intervals are too narrow."""
    rng, prompts, held = np.random.default_rng(0), [str(row // 4) for row in range(400)], 0
    for _ in range(300):
        scores = np.repeat(rng.normal(size=100), 4) + rng.normal(size=400)
        values = by_prompt(scores - scores.mean(), prompts if by == "prompt" else None)
        held += abs(scores.mean()) <= margin(values)
    assert lowest < held / 300 < highest


def test_margins_hold_for_all_figures_at_once() -> None:
    values = np.random.default_rng(0).normal(size=(400, 8))
    one, all_of_them = joint_margins(values[:, :1]), joint_margins(values)
    assert one.critical == bonferroni(1)
    assert all_of_them.critical == pytest.approx(bonferroni(8), abs=0.25)
    assert all_of_them.errors == pytest.approx(values.std(axis=0, ddof=1) / 20)
    copies = joint_margins(np.repeat(values[:, :1], 8, axis=1))
    assert copies.critical == pytest.approx(one.critical, abs=0.15), "figures that move together are one figure"


@pytest.mark.parametrize(("num_draws", "student"), [(6, 2.5706), (10, 2.2622), (21, 2.0860), (101, 1.9840)])
def test_of_few_draws_students_quantile_is_taken(num_draws: int, student: float) -> None:
    """Of 97.5 %, as tables have it."""
    assert expanded(1.959964, num_draws) == pytest.approx(student, rel=2e-3)
    assert expanded(0.0, num_draws) == 0


@pytest.mark.slow
def test_margins_of_few_draws_hold_the_truth_too() -> None:
    rng, held = np.random.default_rng(0), []
    for seed in range(400):
        scores = rng.normal(size=(10, 2))
        widths = joint_margins(scores, num_resamples=400, seed=seed).widths
        held.append((np.abs(scores.mean(axis=0)) <= widths).all())
    assert 0.92 < np.mean(held) < 0.98


def test_of_few_prompts_that_differ_one_way_chance_is_not_ruled_out() -> None:
    """5 of 64 prompts are hits of one cell alone: McNemar's exact test has p = 0.06, and of 6 it has p = 0.03."""
    five, six = (np.arange(64.0) < count for count in (5, 6))
    assert margin(five * 1.0) >= five.mean()
    assert margin(six * 1.0) < six.mean()


@pytest.mark.slow
def test_of_many_equal_cells_none_is_told_from_the_best() -> None:
    """Of 45, that share their prompts: in 95 sweeps of 100, more or less what 60 sweeps can say."""
    told_apart = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        scores = rng.normal(size=(128, 1)) + rng.exponential(size=(128, 45))
        means = scores.mean(axis=0)
        best = int(means.argmax())
        margins = joint_margins_of_pairs(scores - means, num_resamples=300, seed=seed)
        told_apart += bool((means[best] - means > margins.widths[best]).any())
    assert told_apart <= 8


def test_equal_figures_have_no_margin() -> None:
    values = np.random.default_rng(0).normal(size=(50, 1))
    margins = joint_margins_of_pairs(np.repeat(values, 3, axis=1))
    assert margins.widths.max() == 0


def test_the_skew_of_differences_is_that_of_their_columns() -> None:
    values = np.random.default_rng(0).exponential(size=(60, 4)) ** 2
    pairs = joint_margins_of_pairs(values, num_resamples=10)
    alone = joint_margins((values[:, 2] - values[:, 1])[:, None])
    assert (pairs.errors[2, 1], pairs.skews[2, 1]) == pytest.approx((alone.errors[0], alone.skews[0]))


def test_the_seed_decides() -> None:
    values = np.random.default_rng(0).normal(size=(50, 3))
    first, again, other = (joint_margins(values, num_resamples=100, seed=seed).critical for seed in (1, 1, 2))
    assert first == again != other


def test_equal_scores_have_no_width() -> None:
    assert margin(np.full(10, 0.5)) == 0


IDS = [f"image {row}" for row in range(2000)]


def drawn_ids(ids: list[str], draw: int, seed: int = 0, purpose: str = "kid") -> list[str]:
    return [ids[row] for row in subset(sample_keys(ids, len(ids), seed, purpose), draw, 100)]


def test_the_same_images_in_the_same_order_whatever_the_order_of_rows() -> None:
    order = np.random.default_rng(0).permutation(len(IDS))
    assert drawn_ids([IDS[row] for row in order], 3) == drawn_ids(IDS, 3)


def test_it_is_fixed_for_ever() -> None:
    assert drawn_ids(IDS, 0)[:3] == ["image 488", "image 586", "image 622"]


def test_nobody_is_drawn_twice() -> None:
    assert len(set(drawn_ids(IDS, 0))) == 100


def test_draws_seeds_and_purposes_are_independent() -> None:
    first = set(drawn_ids(IDS, 0))
    for other in (drawn_ids(IDS, 1), drawn_ids(IDS, 0, seed=1), drawn_ids(IDS, 0, purpose="kid reference")):
        assert len(first & set(other)) < 20  # 5 expected


@pytest.mark.slow
def test_every_image_is_drawn_equally_often() -> None:
    keys = sample_keys(IDS, len(IDS), 0, "kid")
    times = np.bincount(np.concatenate([subset(keys, draw, 100) for draw in range(2000)]), minlength=2000)
    assert times.mean() == 100
    assert 0.9 < times.std() / np.sqrt(100 * 0.95) < 1.1  # binomial


def test_an_id_that_stands_twice_is_refused() -> None:
    with pytest.raises(DarkroomError, match="'b' stands there more than once"):
        sample_keys(["a", "b", "b"], 3, 0, "kid")


def test_rows_that_are_no_draws_say_nothing_of_how_draws_vary() -> None:
    """A ratio's influence values are 0 where its score does not apply: its interval is that of the others alone."""
    scores = np.random.default_rng(0).exponential(size=12)
    own = scores - scores.mean()
    among = np.concatenate([own, np.zeros(588)]) * 600 / 12
    assert margin(among, num_draws=12) == pytest.approx(margin(own), rel=1e-9)
    assert margin(among) < 0.95 * margin(own)
    assert share_interval(1.0, np.zeros(600), 12) == share_interval(1.0, np.zeros(12)) != share_interval(1.0, among * 0)
