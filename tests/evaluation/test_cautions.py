"""Cautions stand beside figures that need them, and not beside others."""

import numpy as np
import pytest

from darkroom.evaluation.cautions import cautions
from darkroom.evaluation.inputs import Measured, MetricInputs
from darkroom.evaluation.kernel_distances import cmmd_and_influence
from darkroom.evaluation.moments import unit_rows
from tests.evaluation.sets import DIMENSION, images, reference


def said(metric: str, found: Measured, num_images: int, num_reference: int = 400, dimension: int = DIMENSION) -> str:
    inputs = MetricInputs(images(num_images), reference(num_reference), "hessel", 0)
    return " ".join(cautions(metric, found, inputs, dimension))


@pytest.mark.parametrize(
    ("metric", "value", "num_images", "words"),
    [
        ("vendi", 20.0, 64, "64 images are fewer than 10 for each that it counts"),
        ("inception_score", 4.9, 64, "splits has 6"),
        ("recall", 0.99, 64, "near its ceiling of 1"),
        ("coverage", 0.5, 64, "of 64 images against 400 a perfect model has some 0.53"),
        ("fid_infinity", 3.0, 100, "its line begins at 10 images, fewer than twice the 6 feature dimensions"),
        ("frechet", 3.0, 10, "fewer than twice the 6 feature dimensions"),
    ],
)
def test_few_images_are_cautioned_of(metric: str, value: float, num_images: int, words: str) -> None:
    assert words in said(metric, Measured(value), num_images)


@pytest.mark.parametrize(
    ("metric", "value", "num_images"),
    [("vendi", 20.0, 640), ("recall", 0.5, 64), ("coverage", 0.9, 1000), ("frechet_infinity", 3.0, 120), ("kid", 0, 5)],
)
def test_enough_are_not(metric: str, value: float, num_images: int) -> None:
    assert said(metric, Measured(value), num_images, num_images) == ""


def test_a_bias_is_told_where_it_is_a_tenth_of_the_value() -> None:
    assert "some 0.2 of it is a bias of 64 images against 400" in said("cmmd", Measured(1.0, bias=0.16), 64)
    assert said("cmmd", Measured(1.0, bias=0.09), 64) == ""


def test_cmmds_bias_is_what_pairs_of_an_image_with_itself_add() -> None:
    """For images of prompts of their own: the rest is unbiased."""
    rng = np.random.default_rng(0)
    features, others = unit_rows(rng.normal(0.3, 1, (40, 12))), unit_rows(rng.normal(size=(60, 12)))

    def without_itself(rows: np.ndarray) -> float:
        squared = np.square(rows[:, None] - rows).sum(axis=2)
        return float(np.exp(squared / -200)[~np.eye(len(rows), dtype=bool)].mean())

    across = float(np.exp(np.square(features[:, None] - others).sum(axis=2) / -200).mean())
    unbiased = 1000 * (without_itself(features) + without_itself(others) - 2 * across)
    found = cmmd_and_influence(features, others)
    assert found.bias == pytest.approx(found.value - unbiased, rel=1e-9)


def test_coverages_ceiling_is_what_images_of_one_law_have() -> None:
    inputs = [MetricInputs(images(64, seed), reference(400, seed + 500), "hessel", 0) for seed in range(20)]
    assert np.mean([each.hits.covered.mean() for each in inputs]) == pytest.approx(0.52, abs=0.03)
