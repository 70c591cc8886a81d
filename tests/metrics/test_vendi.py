import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.vendi import vendi_score, vendi_score_of_kernel
from tests.metrics.references import reference_values


def seeded(seed: int, count: int, dimension: int, offset: float) -> np.ndarray:
    return np.random.RandomState(seed).randn(count, dimension) + offset


def test_it_equals_the_package() -> None:
    # vendi-score 0.0.3, score_X and score_dual on the same seeded features.
    assert vendi_score(seeded(0, 200, 16, 0.5)) == pytest.approx(13.432249694620433, rel=1e-11)


def test_it_equals_the_reference_values() -> None:
    for case in reference_values("vendi"):
        found = vendi_score(seeded(case["seed"], case["n"], case["d"], case["offset"]))
        assert found == pytest.approx(case["score_X"], rel=1e-9)
        assert found == pytest.approx(case["score_dual"], rel=1e-9)


def test_the_published_examples() -> None:
    # From the package's own README.
    samples = np.array([0, 0, 10, 10, 20, 20])
    assert vendi_score_of_kernel(np.exp(-np.abs(samples[:, None] - samples))) == pytest.approx(2.9999, abs=1e-4)
    assert vendi_score_of_kernel(np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]])) == pytest.approx(2.1573, abs=1e-4)


def test_the_dual_equals_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    features = seeded(1, 50, 8, 0.2).astype(np.float32)
    unit = features / np.linalg.norm(features.astype(float), axis=1, keepdims=True)
    monkeypatch.setattr("darkroom.metrics.features._BLOCK_ELEMENTS", 80)  # ten rows a block
    assert vendi_score(features) == pytest.approx(vendi_score_of_kernel(unit @ unit.T), rel=1e-9)


@pytest.mark.parametrize("count", [4, 40])
def test_it_counts_directions(count: int) -> None:
    assert vendi_score(np.tile(3 * np.eye(20)[:4], (count // 4, 1))) == pytest.approx(4)
    assert vendi_score(np.outer(np.arange(1, count + 1), np.ones(20))) == pytest.approx(1)


def test_a_feature_of_zeros_is_refused() -> None:
    with pytest.raises(DarkroomError, match="row 1 is all zeros"):
        vendi_score(np.array([[1.0, 2.0], [0.0, 0.0]]))


@pytest.mark.parametrize("kernel", [np.ones((2, 3)), 2 * np.eye(3)])
def test_what_is_no_kernel_is_refused(kernel: np.ndarray) -> None:
    with pytest.raises(DarkroomError, match="ones on its diagonal"):
        vendi_score_of_kernel(kernel)
