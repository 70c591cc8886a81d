import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.kid import kid, kid_over_subsets
from tests.metrics.references import reference_values


def seeded(seed: int, count: int, dimension: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    return rng.randn(count, dimension), rng.randn(count, dimension) + shift


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {row}" for row in range(count)]


def test_it_equals_torchmetrics() -> None:
    # torchmetrics 1.9.0, poly_mmd on the same seeded features.
    assert kid(*seeded(0, 500, 16, 0.0)) == pytest.approx(0.0011672113972593934, rel=1e-10)


def test_it_equals_the_reference_values() -> None:
    for case in reference_values("kid"):
        found = kid(*seeded(case["seed"], case["n"], case["d"], case["shift"]))
        assert found == pytest.approx(case["full_unbiased_mmd2_first_min_nm"], rel=1e-9)


def test_it_equals_its_definition_with_unequal_counts_and_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.metrics.features._TILE_ROWS", 7)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(1, 1, size=(33, 4)).astype(np.float32)

    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        return float((one.astype(float) @ other.astype(float) / 4 + 1) ** 3)

    def others(rows: np.ndarray) -> float:
        return np.mean([kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])

    cross = np.mean([kernel(a, b) for a in first for b in second])
    assert kid(first, second) == pytest.approx(others(first) + others(second) - 2 * cross, rel=1e-12)


def test_it_has_no_bias() -> None:
    rng = np.random.default_rng(0)
    found = [kid(rng.normal(size=(30, 4)), rng.normal(size=(40, 4))) for _ in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300)


def test_the_mean_over_subsets_is_near_the_whole_and_has_torch_fidelitys_spread() -> None:
    first, second = seeded(0, 500, 16, 0.0)
    found = kid_over_subsets(first, ids("a", 500), second, ids("b", 500), num_subsets=200, subset_size=100)
    assert found.mean == pytest.approx(kid(first, second), abs=3 * found.std / np.sqrt(200))
    assert found.std == pytest.approx(0.0202, rel=0.25)  # torch-fidelity 0.4.0, 10 subsets of 100


def test_subsets_do_not_depend_on_the_order_of_rows() -> None:
    first, second = seeded(0, 200, 8, 0.5)
    names, other_names = ids("a", 200), ids("b", 200)
    order = np.random.default_rng(0).permutation(200)
    found = kid_over_subsets(first, names, second, other_names, 5, 50)
    shuffled = kid_over_subsets(first[order], [names[row] for row in order], second, other_names, 5, 50)
    assert shuffled == found  # to the last bit
    assert kid_over_subsets(first, names, second, other_names, 5, 50, seed=1) != found


def test_subsets_larger_than_a_set_are_refused() -> None:
    first, second = seeded(0, 30, 4, 0)
    with pytest.raises(DarkroomError, match="reference features: 20 images for a subset_size of 25"):
        kid_over_subsets(first, ids("a", 30), second[:20], ids("b", 20), 5, 25)


def test_one_image_has_no_pairs() -> None:
    with pytest.raises(DarkroomError, match="at least two"):
        kid(np.ones((1, 3)), np.ones((4, 3)))


def test_dimensions_that_differ_are_refused() -> None:
    with pytest.raises(DarkroomError, match="3 dimensions, but the reference has 4"):
        kid(np.ones((5, 3)), np.ones((5, 4)))
