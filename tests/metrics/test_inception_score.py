import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.inception_score import inception_score, softmax


def test_sure_and_even_classes_give_their_number() -> None:
    found = inception_score(np.tile(np.eye(5), (4, 1)), num_splits=2)
    assert (found.mean, found.std) == pytest.approx((5, 0))


def test_one_answer_for_all_gives_one() -> None:
    assert inception_score(np.full((20, 4), 0.25)).mean == pytest.approx(1)


@pytest.mark.parametrize("num_splits", [1, 3, 10])
def test_it_equals_its_definition_over_contiguous_splits(num_splits: int) -> None:
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
