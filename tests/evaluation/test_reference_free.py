import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.reference_free import (
    clip_score,
    inception_score,
    prompt_diversity,
    softmax,
    vendi_score,
    vendi_score_of_kernel,
)
from darkroom.evaluation.resampling import by_prompt


def seeded(seed: int, count: int, dimension: int, offset: float) -> np.ndarray:
    return np.random.RandomState(seed).randn(count, dimension) + offset


def test_vendi_equals_the_package() -> None:
    # vendi-score 0.0.3, score_X and score_dual on the same seeded features.
    assert vendi_score(seeded(0, 200, 16, 0.5)) == pytest.approx(13.432249694620433, rel=1e-11)


def test_the_published_examples() -> None:
    # From the package's own README.
    samples = np.array([0, 0, 10, 10, 20, 20])
    assert vendi_score_of_kernel(np.exp(-np.abs(samples[:, None] - samples))) == pytest.approx(2.9999, abs=1e-4)
    assert vendi_score_of_kernel(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])) == pytest.approx(2.1573, abs=1e-4)


def test_vendis_dual_equals_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    features = seeded(1, 50, 8, 0.2).astype(np.float32)
    unit = features / np.linalg.norm(features.astype(float), axis=1, keepdims=True)
    monkeypatch.setattr("darkroom.evaluation.moments.BLOCK_ELEMENTS", 80)  # ten rows a block
    assert vendi_score(features) == pytest.approx(vendi_score_of_kernel(unit @ unit.T), rel=1e-9)


@pytest.mark.parametrize("count", [4, 40])
def test_vendi_counts_directions(count: int) -> None:
    assert vendi_score(np.tile(3 * np.eye(20)[:4], (count // 4, 1))) == pytest.approx(4)
    assert vendi_score(np.outer(np.arange(1, count + 1), np.ones(20))) == pytest.approx(1)


def test_a_feature_of_zeros_is_refused() -> None:
    with pytest.raises(DarkroomError, match="row 1 is all zeros"):
        vendi_score(np.array([[1.0, 2.0], [0.0, 0.0]]))


@pytest.mark.parametrize("kernel", [np.ones((2, 3)), 2 * np.eye(3)])
def test_what_is_no_kernel_is_refused(kernel: np.ndarray) -> None:
    with pytest.raises(DarkroomError, match="ones on its diagonal"):
        vendi_score_of_kernel(kernel)


def test_prompt_diversity_is_that_of_a_computation_by_hand() -> None:
    """a: one right angle; b: a right angle and two half ones; c: one image, which says nothing."""
    features = np.array([[1, 0], [0, 2], [1, 0], [3, 3], [0, 1], [5, 1]], float)
    prompts = ["a", "a", "b", "b", "b", "c"]
    of_b = 1 - (0 + 2 * 0.5**0.5) / 3
    value, influence = prompt_diversity(features, prompts)
    assert value == pytest.approx((1 + of_b) / 2)
    moved = 2 * (1 - value)  # by how much it is larger with a than without, 3 - 1 times
    np.testing.assert_allclose(by_prompt(influence, prompts), [moved, -moved, 0], atol=1e-12)


def test_images_that_are_alike_have_no_diversity_and_one_a_prompt_no_figure() -> None:
    features = np.repeat(np.random.default_rng(0).normal(size=(12, 5)), 3, axis=0)
    value, influence = prompt_diversity(features, [str(number // 3) for number in range(36)])
    assert value == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(influence, 0, atol=1e-12)
    with pytest.raises(DarkroomError, match="0 prompts have several images; render 2 or more"):
        prompt_diversity(features, [str(number) for number in range(36)])


def test_sure_and_even_classes_give_their_number() -> None:
    found = inception_score(np.tile(np.eye(5), (4, 1)), num_splits=2)
    assert (found.mean, found.std) == pytest.approx((5, 0))


def test_one_answer_for_all_gives_one() -> None:
    assert inception_score(np.full((20, 4), 0.25)).mean == pytest.approx(1)


@pytest.mark.parametrize("num_splits", [1, 3, 10])
def test_the_inception_score_equals_its_definition_over_contiguous_splits(num_splits: int) -> None:
    probabilities = softmax(np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32) * 3)
    scores = []
    for split in range(num_splits):
        part = probabilities[split * 50 // num_splits : (split + 1) * 50 // num_splits]
        divergence = (part * np.log(part / part.mean(axis=0))).sum(axis=1)
        scores.append(np.exp(divergence.mean()))
    found = inception_score(probabilities, num_splits)
    assert (found.mean, found.std) == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-12, abs=1e-12)


def test_softmax_stands_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]])), [[0.5, 0.5, 0]])


@pytest.mark.parametrize("rows", [np.array([[0.5, 0.6]]), np.array([[1.5, -0.5]]), np.array([[3.0, 1.0]])])
def test_what_are_no_probabilities_is_refused(rows: np.ndarray) -> None:
    with pytest.raises(DarkroomError, match="give softmax"):
        inception_score(rows, 1)


@pytest.mark.parametrize("num_splits", [0, 6])
def test_splits_that_the_images_cannot_give_are_refused(num_splits: int) -> None:
    with pytest.raises(DarkroomError, match=f"num_splits: {num_splits} of 5 images"):
        inception_score(np.eye(5), num_splits)


COSINES = np.array([0.3, 0.2, -0.1, 0.4])


def test_clip_score_conventions_differ_in_scale_and_in_what_they_cut() -> None:
    assert clip_score(COSINES, "hessel") == pytest.approx(2.5 * (0.3 + 0.2 + 0 + 0.4) / 4)
    assert clip_score(COSINES, "x100") == pytest.approx(20)
    assert clip_score(COSINES, "mlperf") == pytest.approx(20)


def test_only_mlperf_goes_below_zero() -> None:
    assert [clip_score(-COSINES, name) for name in ("x100", "mlperf")] == pytest.approx([0, -20])
    assert clip_score(-COSINES, "hessel") == pytest.approx(2.5 * 0.1 / 4)


def test_an_unknown_convention_is_refused_with_those_known() -> None:
    with pytest.raises(DarkroomError, match="clip_convention: no 'x10'; take one of hessel, x100, mlperf"):
        clip_score(COSINES, "x10")


@pytest.mark.parametrize("cosines", [np.array([]), np.eye(2), np.array([0.1, np.nan]), np.array([31.0])])
def test_what_are_no_cosines_is_refused(cosines: np.ndarray) -> None:
    with pytest.raises(DarkroomError, match="no list of cosines"):
        clip_score(cosines, "x100")
