from collections.abc import Callable

import numpy as np
import pytest

from darkroom.metrics.cmmd import cmmd
from darkroom.metrics.influences import cmmd_influence, kid_influence, vendi_influence
from darkroom.metrics.kid import kid
from darkroom.metrics.vendi import vendi_score

COPIES = 400


def unit(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    features = rng.normal(shift, 1, size=(count, 6))
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def slope(statistic: Callable[[np.ndarray], float], features: np.ndarray, row: int) -> float:
    """The statistic's change as one image's weight grows: by one copy more of it, and by one less, of COPIES each."""
    copies = np.repeat(np.arange(len(features)), COPIES)
    more, fewer = np.append(copies, row), np.delete(copies, row * COPIES)
    step = 1 / len(more) + 1 / len(fewer)
    return (statistic(features[more]) - statistic(features[fewer])) / step


@pytest.mark.parametrize("row", [0, 7])
def test_an_influence_is_the_derivative_in_an_images_weight(row: int) -> None:
    rng = np.random.default_rng(0)
    features, reference = unit(rng, 10), unit(rng, 13, 0.8)
    by_weight = slope(lambda rows: cmmd(rows, reference), features, row)
    assert cmmd_influence(features, reference)[row] == pytest.approx(by_weight, rel=1e-3)
    assert vendi_influence(features)[row] == pytest.approx(slope(vendi_score, features, row), rel=1e-3)


def test_the_influence_on_kid_is_how_it_changes_without_the_image() -> None:
    rng = np.random.default_rng(0)
    features, reference = unit(rng, 200, 0.3), unit(rng, 50)
    left_out = [kid(np.delete(features, row, axis=0), reference) for row in range(200)]
    found = kid_influence(features, reference)
    np.testing.assert_allclose(found, 199 * (np.mean(left_out) - left_out), atol=0.02 * np.abs(found).max())


@pytest.mark.parametrize("name", ["kid", "cmmd", "vendi"])
def test_the_spread_of_influences_is_the_spread_of_figures(name: str) -> None:
    """What the intervals rest on: of 300 fresh sets, against the mean over them of what each says of itself."""
    rng = np.random.default_rng(0)
    reference = unit(rng, 100)
    figure, influence = {
        "kid": (lambda rows: kid(rows, reference), lambda rows: kid_influence(rows, reference)),
        "cmmd": (lambda rows: cmmd(rows, reference), lambda rows: cmmd_influence(rows, reference)),
        "vendi": (vendi_score, vendi_influence),
    }[name]
    sets = [unit(rng, 150, 0.4) for _ in range(300)]
    spread = np.std([figure(rows) for rows in sets])
    said = np.mean([np.std(influence(rows)) for rows in sets]) / np.sqrt(150)
    assert said == pytest.approx(spread, rel=0.12)  # a spread of 300 is known to 4 %


def test_influences_do_not_depend_on_tiles_and_have_mean_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features, reference = unit(rng, 31), unit(rng, 20)
    whole = [kid_influence(features, reference), cmmd_influence(features, reference), vendi_influence(features)]
    monkeypatch.setattr("darkroom.metrics.features._TILE_ROWS", 7)
    monkeypatch.setattr("darkroom.metrics.features._BLOCK_ELEMENTS", 50)
    tiled = [kid_influence(features, reference), cmmd_influence(features, reference), vendi_influence(features)]
    np.testing.assert_allclose(tiled, whole, rtol=1e-9, atol=1e-12)
    assert np.abs(np.mean(whole, axis=1)).max() < 1e-12
