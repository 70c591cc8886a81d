import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.resampling import (
    bonferroni,
    by_prompt,
    expanded,
    interval,
    joint_margins,
    joint_margins_of_pairs,
    mean_interval,
    sample_keys,
    subset,
)


@pytest.mark.slow
def test_intervals_of_a_mean_hold_the_truth_95_times_in_100() -> None:
    rng = np.random.default_rng(0)
    found = [mean_interval(rng.exponential(size=200), 200, seed) for seed in range(400)]
    assert 0.9 < np.mean([one.low <= 1 <= one.high for one in found]) < 0.98


def test_a_mean_of_normals_has_the_textbook_width() -> None:
    scores = np.random.default_rng(0).normal(3, 2, size=5000)
    found = mean_interval(scores)
    assert found.estimate == scores.mean()
    assert found.high - found.low == pytest.approx(2 * 1.96 * scores.std() / np.sqrt(5000), rel=0.1)


def test_pairs_show_what_own_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    prompts = rng.normal(0, 1, size=300)  # some prompts are harder in both sets
    first, second = prompts + rng.normal(0.05, 0.05, 300), prompts + rng.normal(0, 0.05, 300)
    difference = first - second
    assert difference.mean() > joint_margins(difference[:, None]).widths[0]
    assert mean_interval(first).low < mean_interval(second).high


def test_values_by_prompt_have_the_same_mean_and_each_prompts_sum() -> None:
    found = by_prompt(np.array([1.0, 2.0, 4.0, 5.0, 8.0]), ["b", "a", "b", "b", "a"])
    np.testing.assert_allclose(found, [10 * 2 / 5, 10 * 2 / 5])
    values = np.arange(4.0)
    assert by_prompt(values, None) is values


@pytest.mark.slow
@pytest.mark.parametrize(("by", "lowest", "highest"), [("image", 0.7, 0.88), ("prompt", 0.92, 0.98)])
def test_prompts_are_what_is_to_be_resampled(by: str, lowest: float, highest: float) -> None:
    """100 prompts of 4 images, whose prompt says as much as their noise: by images, intervals are too narrow."""
    rng, prompts, held = np.random.default_rng(0), [str(row // 4) for row in range(400)], 0
    for seed in range(300):
        scores = np.repeat(rng.normal(size=100), 4) + rng.normal(size=400)
        values = by_prompt(scores - scores.mean(), prompts if by == "prompt" else None)
        around = mean_interval(values, 200, seed)
        held += scores.mean() + around.low <= 0 <= scores.mean() + around.high
    assert lowest < held / 300 < highest


def test_margins_hold_for_all_figures_at_once() -> None:
    values = np.random.default_rng(0).normal(size=(400, 8))
    one, all_of_them = joint_margins(values[:, :1]), joint_margins(values)
    assert one.critical == pytest.approx(1.96, abs=0.15)
    assert all_of_them.critical == pytest.approx(bonferroni(8), abs=0.25)
    assert all_of_them.errors == pytest.approx(values.std(axis=0, ddof=1) / 20)
    copies = joint_margins(np.repeat(values[:, :1], 8, axis=1))
    assert copies.critical == pytest.approx(one.critical), "figures that move together are one figure"


@pytest.mark.parametrize(("num_draws", "student"), [(6, 2.5706), (10, 2.2622), (21, 2.0860), (101, 1.9840)])
def test_of_few_draws_students_quantile_is_taken(num_draws: int, student: float) -> None:
    """Of 97.5 %, as tables have it."""
    assert expanded(1.959964, num_draws) == pytest.approx(student * (num_draws / (num_draws - 1)) ** 0.5, rel=2e-3)
    assert expanded(0.0, num_draws) == 0


@pytest.mark.slow
def test_intervals_of_few_draws_hold_the_truth_too() -> None:
    """Plain percentiles of 10 draws hold it 88 times in 100, and margins that go by them too."""
    rng = np.random.default_rng(0)
    own, joint = [], []
    for seed in range(400):
        scores = rng.normal(size=10)
        found = mean_interval(scores, 400, seed)
        own.append(found.low <= 0 <= found.high)
        joint.append(abs(scores.mean()) <= joint_margins(scores[:, None], num_resamples=400, seed=seed).widths[0])
    assert 0.905 < np.mean(own) < 0.98
    assert 0.905 < np.mean(joint) < 0.98


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


def test_any_statistic_of_rows() -> None:
    scores = np.arange(101.0)
    found = interval(lambda rows: float(np.median(scores[rows])), 101, 500)
    assert found.estimate == 50
    assert 25 < found.low < 50 < found.high < 75


def test_the_seed_decides() -> None:
    scores = np.random.default_rng(0).normal(size=50)
    assert mean_interval(scores, 100, 1) == mean_interval(scores, 100, 1) != mean_interval(scores, 100, 2)


def test_equal_scores_have_no_width() -> None:
    found = mean_interval(np.full(10, 0.5), 10)
    assert (found.low, found.estimate, found.high) == (0.5, 0.5, 0.5)


def test_one_image_has_no_interval() -> None:
    with pytest.raises(DarkroomError, match="at least 2 images"):
        mean_interval(np.array([1.0]))


@pytest.mark.parametrize("scores", [np.array([1.0, np.nan]), np.eye(2)])
def test_what_are_no_scores_is_refused(scores: np.ndarray) -> None:
    with pytest.raises(DarkroomError, match="one an image"):
        mean_interval(scores)


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
