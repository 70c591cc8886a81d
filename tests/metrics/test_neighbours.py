from dataclasses import asdict

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.neighbours import Neighbours, neighbours


def seeded(seed: int, num_real: int, num_fake: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    return rng.randn(num_real, dimension), rng.randn(num_fake, dimension)


@pytest.mark.parametrize("tile_rows", [2048, 64])
def test_it_equals_prdc(tile_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.metrics.arrays.TILE_ROWS", tile_rows)
    real, fake = seeded(0, 300, 250, 8)
    # prdc 0.2 on the same seeded features.
    assert asdict(neighbours(fake, real)) == pytest.approx(
        {"precision": 0.94, "recall": 0.95, "density": 0.932, "coverage": 0.94}, rel=1e-12
    )


def test_it_equals_its_definition_far_apart_and_with_copies() -> None:
    rng = np.random.default_rng(0)
    real, fake = rng.integers(0, 6, size=(60, 2)), rng.integers(2, 9, size=(45, 2))  # many ties, all exact

    def distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
        return ((one[:, None] - other) ** 2).sum(axis=2)

    radii, fake_radii = (np.sort(distances(rows, rows), axis=1)[:, 3] for rows in (real, fake))
    across = distances(real, fake)
    within = across < radii[:, None]
    expected = Neighbours(
        precision=within.any(axis=0).mean(),
        recall=(across < fake_radii).any(axis=1).mean(),
        density=within.sum(axis=0).mean() / 3,
        coverage=within.any(axis=1).mean(),
    )
    assert neighbours(fake, real, nearest_k=3) == expected


def test_sets_far_apart_have_nothing_in_common() -> None:
    real, fake = seeded(0, 50, 50, 4)
    assert neighbours(fake + 100, real) == Neighbours(0, 0, 0, 0)


def test_a_k_that_the_sets_cannot_give_is_refused() -> None:
    with pytest.raises(DarkroomError, match="nearest_k=5 of 5 and 9 images"):
        neighbours(np.eye(5), np.eye(9)[:, :5])
