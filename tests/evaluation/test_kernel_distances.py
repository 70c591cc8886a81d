"""Figures from all pairs of images against packages and against definitions written out: kernels and neighbourhoods."""

from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.kernel_distances import (
    Kernel,
    KernelDistance,
    Prompts,
    cmmd,
    cmmd_and_influence,
    cubic,
    gaussian,
    kid,
    kid_and_influence,
    kid_over_subsets,
)
from darkroom.evaluation.neighbours import Neighbours, authentic, near_duplicates, neighbours
from darkroom.evaluation.reference_free import vendi_deletions, vendi_score
from darkroom.evaluation.resampling import by_prompt, direction


def seeded(seed: int, count: int, dimension: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    return rng.randn(count, dimension), rng.randn(count, dimension) + shift


def unit(rng: np.random.Generator, count: int, shift: float = 0.0) -> np.ndarray:
    features = rng.normal(shift, 1, size=(count, 6))
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def ids(prefix: str, count: int) -> list[str]:
    return [f"{prefix} {row}" for row in range(count)]


def test_kid_equals_torchmetrics() -> None:
    # torchmetrics 1.9.0, poly_mmd on the same seeded features.
    assert kid(*seeded(0, 500, 16, 0.0)) == pytest.approx(0.0011672113972593934, rel=1e-10)


def test_kid_equals_its_definition_with_unequal_counts_and_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", 7)
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(20, 4)).astype(np.float32), rng.normal(1, 1, size=(33, 4)).astype(np.float32)

    def kernel(one: np.ndarray, other: np.ndarray) -> float:
        return float((one.astype(float) @ other.astype(float) / 4 + 1) ** 3)

    def others(rows: np.ndarray) -> float:
        return np.mean([kernel(a, b) for i, a in enumerate(rows) for j, b in enumerate(rows) if i != j])

    cross = np.mean([kernel(a, b) for a in first for b in second])
    assert kid(first, second) == pytest.approx(others(first) + others(second) - 2 * cross, rel=1e-12)


def test_kid_has_no_bias() -> None:
    rng = np.random.default_rng(0)
    found = [kid(rng.normal(size=(30, 4)), rng.normal(size=(40, 4))) for _ in range(300)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(300)


def of_scenes(rng: np.random.Generator, scenes: np.ndarray, times: int) -> tuple[np.ndarray, list[str]]:
    """Unit features of `times` images of each scene, and the scenes' names."""
    features = np.repeat(scenes, times, axis=0) + rng.normal(0, 0.3, (len(scenes) * times, scenes.shape[1]))
    names = [scene.tobytes().hex() for scene in np.repeat(scenes, times, axis=0)]
    return features / np.linalg.norm(features, axis=1, keepdims=True), names


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("distance", [kid, cmmd])
def test_a_perfect_model_has_one_distance_however_prompts_repeat(distance: Callable[..., float], shared: bool) -> None:
    """40 prompts of 4 images against 8 of each, of the same prompts or others: as so many single ones."""
    rng = np.random.default_rng(0)
    known, unknown, single = [], [], []
    for _ in range(80):
        scenes, other_scenes = rng.normal(size=(2, 40, 6))
        features, own = of_scenes(rng, scenes, 4)
        reference, others = of_scenes(rng, scenes if shared else other_scenes, 8)
        known.append(distance(features, reference, Prompts.of(own, others, (160, 320))))
        unknown.append(distance(features, reference))
        alone, alone_of_reference = (of_scenes(rng, rng.normal(size=(count, 6)), 1)[0] for count in (160, 320))
        single.append(distance(alone, alone_of_reference))

    def bias(found: list[float]) -> float:
        return abs(np.mean(found) - np.mean(single)) / np.hypot(np.std(found), np.std(single)) * np.sqrt(len(found))

    assert bias(known) < 4 < bias(unknown)


@pytest.mark.parametrize("distance", [kid_and_influence, cmmd_and_influence])
def test_images_of_one_prompt_are_walked_tile_by_tile_too(
    distance: Callable[..., KernelDistance], monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    sets = rng.normal(size=(30, 4)), rng.normal(size=(20, 4))
    known = Prompts.of(["a"] * 20 + ["b"] * 3 + ["c"] * 7, ["d"] * 8 + ["a"] * 12, (30, 20))
    whole = distance(*sets, known)
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", 4)
    in_tiles = distance(*sets, known)
    np.testing.assert_allclose(in_tiles.influence, whole.influence, rtol=1e-9)
    assert in_tiles._replace(influence=0) == pytest.approx(whole._replace(influence=0), rel=1e-9)


@pytest.mark.parametrize("kernel", [cubic, gaussian])
def test_an_interval_counts_from_the_distance_over_all_pairs(kernel: Kernel) -> None:
    """Those of one prompt and of an image with itself among them."""
    rng = np.random.default_rng(0)
    prompts = [str(row // 3) for row in range(30)]
    features, reference = rng.normal(size=(30, 4)), rng.normal(0.3, 1, size=(20, 4))
    measure, scale = (kid_and_influence, 1) if kernel is cubic else (cmmd_and_influence, 1000)
    found = measure(features, reference, Prompts.of(prompts, None, (30, 20)))
    within = kernel(features, features)
    over_all = within.mean() + kernel(reference, reference).mean() - 2 * kernel(features, reference).mean()
    assert found.squared == pytest.approx(scale * over_all, rel=1e-9)
    moved = direction(found.influence, prompts)
    assert found.curvature == pytest.approx(scale * moved @ within @ moved, rel=1e-9)


def test_the_influence_on_kid_is_what_it_loses_without_each_prompt() -> None:
    """Exactly, where prompts have unequal numbers and some are the reference's too; of images where prompts are few."""
    rng = np.random.default_rng(0)
    sizes = (1, 2, 7, 3, 1, 4)
    prompts = np.array([str(number) for number, size in enumerate(sizes) for _ in range(size)])
    others = [str(number) for number in range(4, 12) for _ in range(1 + number % 3)]
    features, reference = rng.normal(size=(len(prompts), 5)), rng.normal(0.3, 1, (len(others), 5))

    def left_out(kept: np.ndarray) -> float:
        return kid(features[kept], reference, Prompts.of(prompts[kept], others, (kept.sum(), len(others))))

    known = Prompts.of(prompts, others, (len(prompts), len(others)))
    by_draw = {
        True: np.array([left_out(prompts != str(number)) for number in range(len(sizes))]),
        False: np.array([left_out(np.arange(len(prompts)) != row) for row in range(len(prompts))]),
    }
    for are_sample, without in by_draw.items():
        influence = kid_and_influence(features, reference, replace(known, are_sample=are_sample)).influence
        found = by_prompt(influence, prompts) if are_sample else influence
        np.testing.assert_allclose(found, (len(without) - 1) * (without.mean() - without), rtol=1e-9, atol=1e-9)


def test_images_of_one_prompt_alone_have_no_distance() -> None:
    features, reference = seeded(0, 6, 3, 0.0)
    with pytest.raises(DarkroomError, match="no two images are of different prompts"):
        kid(features, reference, Prompts.of(["a"] * 6, None, (6, 6)))


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


def test_cmmd_equals_its_definition_with_unequal_counts_and_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", 7)
    rng = np.random.default_rng(0)
    first, second = unit(rng, 20), unit(rng, 33, 1.0)

    def mean(one: np.ndarray, other: np.ndarray) -> float:
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * 10**2)) for a in one for b in other])

    expected = 1000 * (mean(first, first) + mean(second, second) - 2 * mean(first, second))
    assert cmmd(first, second) == pytest.approx(expected, rel=1e-9)


def test_the_cmmd_of_two_points_has_a_closed_form() -> None:
    """Of one image each, a distance of 2: 1000 (1 + 1 - 2 exp(-4 / 200))."""
    assert cmmd(np.array([[1.0, 0.0]]), np.array([[-1.0, 0.0]])) == pytest.approx(2000 * (1 - np.exp(-0.02)), rel=1e-12)


def test_cmmd_is_zero_for_the_same_and_grows() -> None:
    rng = np.random.default_rng(0)
    first = unit(rng, 50)
    assert cmmd(first, first) == pytest.approx(0, abs=1e-9)
    assert 0 < cmmd(first, unit(rng, 50, 0.5)) < cmmd(first, unit(rng, 50, 2.0))


COPIES = 400


def slope(statistic: Callable[[np.ndarray], float], features: np.ndarray, row: int) -> float:
    """The statistic's change as one image's weight grows: by one copy more of it, and by one less, of COPIES each."""
    copies = np.repeat(np.arange(len(features)), COPIES)
    more, fewer = np.append(copies, row), np.delete(copies, row * COPIES)
    step = 1 / len(more) + 1 / len(fewer)
    return (statistic(features[more]) - statistic(features[fewer])) / step


@pytest.mark.slow
@pytest.mark.parametrize("row", [0, 7])
def test_an_influence_is_the_derivative_in_an_images_weight(row: int) -> None:
    rng = np.random.default_rng(0)
    features, reference = unit(rng, 10), unit(rng, 13, 0.8)
    by_weight = slope(lambda rows: cmmd(rows, reference), features, row)
    assert cmmd_and_influence(features, reference)[1][row] == pytest.approx(by_weight, rel=1e-3)


@pytest.mark.parametrize("num_images", [3, 10, 60])
def test_the_influence_on_vendi_is_what_it_loses_without_the_image(num_images: int) -> None:
    """Exactly, of fewer images than dimensions too."""
    features = unit(np.random.default_rng(0), num_images)
    left_out = [vendi_score(np.delete(features, row, axis=0)) for row in range(num_images)]
    expected = (num_images - 1) * (np.mean(left_out) - left_out)
    found = vendi_deletions(features)
    np.testing.assert_allclose(found.influence, expected, atol=1e-6 * np.abs(expected).max())
    bias = (num_images - 1) * (np.log(left_out).mean() - np.log(vendi_score(features)))
    assert found.bias == pytest.approx(bias, rel=1e-5)


def test_the_influence_on_vendi_is_what_it_loses_without_each_prompt() -> None:
    """Exactly, where prompts have unequal numbers of images."""
    prompts = np.array([str(number) for number, size in enumerate((1, 2, 7, 3, 1, 4)) for _ in range(size)])
    features = unit(np.random.default_rng(0), len(prompts))
    left_out = np.array([vendi_score(features[prompts != name]) for name in "012345"])
    found = vendi_deletions(features, prompts.tolist())
    expected = 5 * (left_out.mean() - left_out)
    by_name = by_prompt(found.influence, prompts.tolist())
    np.testing.assert_allclose(by_name - by_name.mean(), expected, atol=1e-6 * np.abs(expected).max())
    bias = 5 * (np.log(left_out).mean() - np.log(vendi_score(features)))
    assert found.bias == pytest.approx(bias, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["kid", "cmmd", "vendi"])
def test_the_spread_of_influences_is_the_spread_of_figures(name: str) -> None:
    """What the intervals rest on: of 300 fresh sets, against the mean over them of what each says of itself."""
    rng = np.random.default_rng(0)
    reference = unit(rng, 100)
    figure, influence = {
        "kid": (lambda rows: kid(rows, reference), lambda rows: kid_and_influence(rows, reference)[1]),
        "cmmd": (lambda rows: cmmd(rows, reference), lambda rows: cmmd_and_influence(rows, reference)[1]),
        "vendi": (vendi_score, lambda rows: vendi_deletions(rows).influence),
    }[name]
    sets = [unit(rng, 150, 0.4) for _ in range(300)]
    spread = np.std([figure(rows) for rows in sets])
    said = np.mean([np.std(influence(rows)) for rows in sets]) / np.sqrt(150)
    assert said == pytest.approx(spread, rel=0.12)  # a spread of 300 is known to 4 %


def test_influences_do_not_depend_on_tiles_and_have_mean_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    features, reference = unit(rng, 31), unit(rng, 20)

    def influences() -> list[np.ndarray]:
        both = kid_and_influence(features, reference)[1], cmmd_and_influence(features, reference)[1]
        return [*both, vendi_deletions(features).influence]

    whole = influences()
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", 7)
    monkeypatch.setattr("darkroom.evaluation.moments.BLOCK_ELEMENTS", 50)
    tiled = influences()
    np.testing.assert_allclose(tiled, whole, rtol=1e-9, atol=1e-12)
    assert np.abs(np.mean(whole, axis=1)).max() < 1e-12


def two_sizes(seed: int, num_real: int, num_fake: int, dimension: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(seed)
    return rng.randn(num_real, dimension), rng.randn(num_fake, dimension)


@pytest.mark.parametrize("tile_rows", [2048, 64])
def test_it_equals_prdc(tile_rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", tile_rows)
    real, fake = two_sizes(0, 300, 250, 8)
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
    real, fake = two_sizes(0, 50, 50, 4)
    assert neighbours(fake + 100, real) == Neighbours(0, 0, 0, 0)


def test_a_k_that_the_sets_cannot_give_is_refused() -> None:
    with pytest.raises(DarkroomError, match="5 images and 9 of the reference are too few, as nearest_k=5"):
        neighbours(np.eye(5), np.eye(9)[:, :5])


# On a line: (0), (1) and (5) have their nearest neighbours at 1, 1 and 4.
REAL = np.array([[0.0, 1], [1, 1], [5, 1]])
FAKE = np.array([[0.2, 1], [2.5, 1], [6, 1], [10, 1]])


@pytest.mark.parametrize("tile", [1, 2, 2048])
def test_images_nearer_than_reference_images_are_to_each_other_are_not_authentic(
    tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", tile)
    assert authentic(FAKE, REAL).tolist() == [False, True, False, True]
    assert not authentic(REAL, REAL).any()
    with pytest.raises(DarkroomError, match="1 image\\(s\\) of the reference are too few"):
        authentic(FAKE, REAL[:1])


@pytest.mark.parametrize("tile", [1, 2, 2048])
def test_duplicates_have_another_image_in_nearly_their_direction(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """tan of the angle is 0.05 between the first and the third, 0.5 of the last: cosines 0.9988 and 0.894."""
    monkeypatch.setattr("darkroom.evaluation.moments.TILE_ROWS", tile)
    features = np.array([[1, 0], [0, 3], [2, 0.1], [-1, 0], [2, 1]])
    assert near_duplicates(features, 0.95).tolist() == [True, False, True, False, False]
    assert near_duplicates(features, 0.85).tolist() == [True, False, True, False, True]
    assert near_duplicates(np.ones((3, 4)), 0.999).all()
