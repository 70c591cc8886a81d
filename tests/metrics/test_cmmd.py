import numpy as np
import pytest

from darkroom.metrics.cmmd import cmmd


def unit(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    features = rng.normal(shift, 1, size=(count, 6))
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def test_it_equals_its_definition_with_unequal_counts_and_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.metrics.features._TILE_ROWS", 7)
    rng = np.random.default_rng(0)
    first, second = unit(rng, 20), unit(rng, 33, 1.0)

    def mean(one: np.ndarray, other: np.ndarray) -> float:
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * 10**2)) for a in one for b in other])

    expected = 1000 * (mean(first, first) + mean(second, second) - 2 * mean(first, second))
    assert cmmd(first, second) == pytest.approx(expected, rel=1e-9)


def test_two_points_have_a_closed_form() -> None:
    """Of one image each, a distance of 2: 1000 (1 + 1 - 2 exp(-4 / 200))."""
    assert cmmd(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])) == pytest.approx(2000 * (1 - np.exp(-0.02)), rel=1e-12)


def test_it_is_zero_for_the_same_and_grows() -> None:
    rng = np.random.default_rng(0)
    first = unit(rng, 50)
    assert cmmd(first, first) == pytest.approx(0, abs=1e-9)
    assert 0 < cmmd(first, unit(rng, 50, 0.5)) < cmmd(first, unit(rng, 50, 2.0))
