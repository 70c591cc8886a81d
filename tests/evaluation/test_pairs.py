from dataclasses import replace

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.measures import image_scores
from darkroom.evaluation.pairs import aligned, differences, paired_metrics
from darkroom.metrics.bootstrap import paired_interval
from darkroom.metrics.frechet import frechet_distance
from darkroom.metrics.moments import FeatureMoments
from darkroom.runs.features import PairedFeatures
from tests.evaluation.sets import CLIP, cell, figures_of, reference


def moved(found: PairedFeatures, by: float, noise: float = 0.0, seed: int = 9) -> PairedFeatures:
    """The same images, a little different: as another setting makes of the same noise."""
    rng = np.random.default_rng(seed)
    features = found.images
    return PairedFeatures(
        found.pairs,
        replace(
            features,
            features=(features.features + by + rng.normal(0, noise, features.features.shape)).astype(np.float32),
            cosines=(features.cosines + by / 10).astype(np.float32),
        ),
    )


def turned(found: PairedFeatures) -> PairedFeatures:
    rows = list(range(len(found.pairs)))[::-1]
    return PairedFeatures(tuple(found.pairs[row] for row in rows), found.images.taken(rows))


def test_images_are_aligned_by_prompt_and_sample_whatever_their_order() -> None:
    first, second = cell(20), turned(cell(20, first=5))
    left, right = aligned(first, second)
    assert left.image_ids == right.image_ids
    assert len(set(left.image_ids)) == 10
    shared = sorted(set(first.pairs) & set(second.pairs))
    for row, pair in enumerate(shared):
        assert left.cosines[row] == first.images.cosines[first.pairs.index(pair)]
        np.testing.assert_array_equal(right.features[row], second.images.features[second.pairs.index(pair)])


def test_cells_without_a_pair_and_mixed_cells_are_refused() -> None:
    with pytest.raises(DarkroomError, match="of 20 and 20 images no two share"):
        aligned(cell(20), cell(20, first=50))
    twice = PairedFeatures((("p", 0),) * 4, cell(4).images)
    with pytest.raises(DarkroomError, match="4 images of 1 prompt_ids"):
        aligned(twice, cell(4))


def test_a_difference_is_that_of_the_two_figures_over_the_pairs() -> None:
    base, other, real = cell(60), moved(cell(60), 0.3, 0.2), reference(80)
    found = differences({"a": base, "b": turned(other)}, "a", CLIP, real, None, "hessel", 0)
    assert list(found) == ["b"]
    assert found["b"].keys() == {
        f"demo_clip.{name}" for name in ("frechet", "kid", "cmmd", "precision", "density", "vendi", "clip_score")
    }
    first, second = (figures_of(one.images, CLIP, real, None, "hessel", 0) for one in (base, other))
    for name, difference in found["b"].items():
        assert difference.baseline == pytest.approx(first[name].value, rel=1e-9)
        assert difference.value == pytest.approx(second[name].value, rel=1e-9)
        assert difference.low <= difference.difference <= difference.high
        assert difference.num_pairs == 60


def test_the_clip_scores_difference_has_the_paired_interval_of_image_scores() -> None:
    base, other = cell(60), cell(60, seed=1)
    found = differences({"a": base, "b": other}, "a", CLIP, None, ["clip_score"], "x100", 3)["b"][
        "demo_clip.clip_score"
    ]
    # `aligned` sorts the pairs, and a bootstrap goes by rows.
    scores = [image_scores(one.cosines, "x100") for one in aligned(base, other)]
    expected = paired_interval(scores[1], scores[0], seed=3)
    assert found.difference == pytest.approx(expected.estimate, rel=1e-6)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-6)


def test_pairing_tells_apart_what_the_two_own_intervals_do_not() -> None:
    base, real = cell(100, shift=0.5), reference(200)
    other = moved(base, 0.1, 0.02)
    both = {"a": base, "b": other}
    found = differences(both, "a", CLIP, real, ["frechet", "clip_score"], "hessel", 0)["b"]
    own = [figures_of(one.images, CLIP, real, ["frechet", "clip_score"], "hessel", 0) for one in both.values()]
    for name, difference in found.items():
        assert max(one[name].low for one in own) < min(one[name].high for one in own)  # they overlap
        assert difference.low > 0
        assert difference.high - difference.low < (own[0][name].high - own[0][name].low) / 2


def test_the_frechet_interval_holds_the_difference_expected_at_that_size() -> None:
    """Of 150 pairs of sets that share most of their noise."""
    real, rng = reference(300), np.random.default_rng(0)
    found = []
    for seed in range(150):
        base = cell(80, seed=1000 + seed)
        both = {"a": base, "b": moved(base, 0.1, 0.3, seed)}
        found.append(differences(both, "a", CLIP, real, ["frechet"], "hessel", int(rng.integers(99)))["b"])
    values = [one["demo_clip.frechet"] for one in found]
    expected = np.mean([one.difference for one in values])
    assert 0.88 < np.mean([one.low <= expected <= one.high for one in values]) <= 1


def test_large_sets_are_thinned_by_pairs_so_that_both_sides_keep_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sides", "figures"):
        monkeypatch.setattr(f"darkroom.evaluation.{module}.MOST_COMPARED", 30)
    base = cell(60)
    found = differences({"a": base, "b": turned(base)}, "a", CLIP, reference(60), ["kid"], "hessel", 0)["b"]
    difference = found["demo_clip.kid"]
    assert (difference.low, difference.difference, difference.high) == (0, 0, 0)  # the same images on both sides
    assert difference.num_pairs == 30
    assert "30 of 60 images" in difference.warnings[0]


def test_each_cell_is_compared_over_its_own_pairs() -> None:
    base = cell(40)
    found = differences(
        {"b": cell(40, 1), "a": base, "c": cell(30, 2), "d": base}, "a", CLIP, None, ["clip_score"], "hessel", 0
    )
    assert [one["demo_clip.clip_score"].num_pairs for one in found.values()] == [40, 30, 40]
    assert found["d"]["demo_clip.clip_score"].difference == 0
    right, left = aligned(base, cell(30, 2))
    name = "demo_clip.clip_score"
    assert found["c"][name].baseline == pytest.approx(image_scores(right.cosines, "hessel").mean(), rel=1e-6)
    assert found["c"][name].value == pytest.approx(image_scores(left.cosines, "hessel").mean(), rel=1e-6)


def test_the_frechet_difference_is_over_gaussians_of_the_pairs() -> None:
    base, other, real = cell(60), cell(60, 1, first=10), reference(40)
    found = differences({"a": base, "b": other}, "a", CLIP, real, ["frechet"], "hessel", 0)["b"]["demo_clip.frechet"]
    expected = [
        frechet_distance(FeatureMoments.of(one.features).gaussian(), real.gaussian) for one in aligned(base, other)
    ]
    assert (found.baseline, found.value) == pytest.approx(tuple(expected), rel=1e-9)
    assert found.num_pairs == 40


def test_a_metric_without_an_interval_is_refused() -> None:
    with pytest.raises(DarkroomError, match="recall has no interval to compare by; take "):
        paired_metrics(["recall"], CLIP, reference(5))
