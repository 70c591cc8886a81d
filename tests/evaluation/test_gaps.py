"""Cells compared image by image: over their pairs, and each with each metric's best."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import Gap
from darkroom.evaluation.frechet import frechet_distance
from darkroom.evaluation.gaps import aligned, costs, differences, gaps, paired_metrics
from darkroom.evaluation.gathering import gathered
from darkroom.evaluation.measuring import MeasuredCell, measured_cell, metric_infos
from darkroom.evaluation.moments import FeatureMoments
from darkroom.evaluation.reference_free import image_clip_scores
from darkroom.evaluation.resampling import by_prompt, joint_margins
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
    assert left.images.image_ids == right.images.image_ids
    assert len(set(left.images.image_ids)) == 10
    shared = sorted(set(first.pairs) & set(second.pairs))
    for row, pair in enumerate(shared):
        assert left.images.cosines[row] == first.images.cosines[first.pairs.index(pair)]
        np.testing.assert_array_equal(right.images.features[row], second.images.features[second.pairs.index(pair)])


def test_cells_without_a_pair_and_mixed_cells_are_refused() -> None:
    with pytest.raises(DarkroomError, match="of 20 and 20 images no two share"):
        aligned(cell(20), cell(20, first=50))
    twice = PairedFeatures((("p", 0),) * 4, cell(4).images)
    with pytest.raises(DarkroomError, match="4 images of 1 prompt_ids"):
        aligned(twice, cell(4))


@pytest.mark.slow
def test_a_difference_is_that_of_the_two_figures_over_the_pairs() -> None:
    base, other, real = cell(60), moved(cell(60), 0.3, 0.2), reference(80)
    found = differences({"a": base, "b": turned(other)}, "a", CLIP, real, None, "hessel", 0)
    assert list(found) == ["b"]
    assert found["b"].keys() == {
        f"demo_clip.{name}" for name in ("frechet", "kid", "cmmd", "precision", "density", "vendi", "clip_score")
    }
    first, second = (
        figures_of(one.images, CLIP, real, None, "hessel", 0, prompts=one.prompts) for one in (base, other)
    )
    for name, difference in found["b"].items():
        assert difference.base_value == pytest.approx(first[name].value, rel=1e-9)
        assert difference.value == pytest.approx(second[name].value, rel=1e-9)
        assert difference.low <= difference.difference <= difference.high
        assert difference.num_pairs == 60


def test_the_clip_scores_difference_has_the_paired_interval_of_image_scores() -> None:
    base, other = cell(60), cell(60, seed=1)
    found = differences({"a": base, "b": other}, "a", CLIP, None, ["clip_score"], "x100", 3)["b"][
        "demo_clip.clip_score"
    ]
    # `aligned` sorts the pairs, and a bootstrap goes by rows: of prompts, each of which has two images here.
    first, second = aligned(base, other)
    scores = image_clip_scores(second.images.cosines, "x100") - image_clip_scores(first.images.cosines, "x100")
    (width,) = joint_margins(by_prompt(scores - scores.mean(), first.prompts)[:, None], seed=3).widths
    assert found.difference == pytest.approx(scores.mean(), rel=1e-6)
    assert (found.low, found.high) == pytest.approx((scores.mean() - width, scores.mean() + width), rel=1e-6)


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


@pytest.mark.slow
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


def test_large_sets_are_thinned_by_pairs_so_that_both_cells_keep_the_same() -> None:
    base = cell(60)
    found = differences({"a": base, "b": turned(base)}, "a", CLIP, reference(60), ["kid"], "hessel", 0, 30)["b"]
    difference = found["demo_clip.kid"]
    assert (difference.low, difference.difference, difference.high) == (0, 0, 0)  # the same images in both
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
    assert found["c"][name].base_value == pytest.approx(
        image_clip_scores(right.images.cosines, "hessel").mean(), rel=1e-6
    )
    assert found["c"][name].value == pytest.approx(image_clip_scores(left.images.cosines, "hessel").mean(), rel=1e-6)


def test_the_frechet_difference_is_over_gaussians_of_the_pairs() -> None:
    base, other, real = cell(60), cell(60, 1, first=10), reference(40)
    found = differences({"a": base, "b": other}, "a", CLIP, real, ["frechet"], "hessel", 0)["b"]["demo_clip.frechet"]
    expected = [
        frechet_distance(FeatureMoments.of(one.images.features).gaussian(), real.gaussian)
        for one in aligned(base, other)
    ]
    assert (found.base_value, found.value) == pytest.approx(tuple(expected), rel=1e-9)
    assert found.num_pairs == 40


def test_several_metrics_are_compared_at_once() -> None:
    both, real = {"a": cell(60), "b": cell(60, 1)}, reference(40)
    alone = differences(both, "a", CLIP, real, ["kid"], "hessel", 0)["b"]["demo_clip.kid"]
    beside = differences(both, "a", CLIP, real, ["kid", "clip_score", "vendi"], "hessel", 0)["b"]["demo_clip.kid"]
    each = differences(both, "a", CLIP, real, ["kid", "clip_score"], "hessel", 0, level=None)["b"]["demo_clip.kid"]
    assert beside.difference == alone.difference == each.difference
    assert beside.low < alone.low
    assert each == alone


def test_a_distance_that_ranks_by_chance_is_not_compared_by() -> None:
    both, real = {"a": cell(10), "b": cell(10, 1)}, reference(40)
    assert "demo_clip.frechet" not in differences(both, "a", CLIP, real, None, "hessel", 0)["b"]
    with pytest.raises(DarkroomError, match=r"10 images in 6 dimensions rank models by chance.* compare 12 or more"):
        differences(both, "a", CLIP, real, ["frechet"], "hessel", 0)


def test_a_metric_without_an_interval_is_refused() -> None:
    with pytest.raises(DarkroomError, match="recall has no interval to compare by; take "):
        paired_metrics(["recall"], CLIP, reference(5))


REAL = reference(80)
BASE = cell(60)
CELLS = {"near": moved(BASE, 0.05, 0.02), "base": BASE, "far": moved(BASE, -0.5, 0.1)}


def measured(
    cells: dict[str, PairedFeatures],
    most: int = 50_000,
    metrics: Sequence[str] | None = None,
    most_compared: int = 10_000,
) -> dict[str, MeasuredCell]:
    options = (CLIP, REAL, metrics, "hessel", 0, None, most_compared)
    return {name: measured_cell(gathered([one], most), *options) for name, one in cells.items()}


def never(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Gap]:
    raise AssertionError("cells of the same images are not measured again")


def found_gaps(cells, measure_pairs=never, **options) -> dict[str, dict[str, Gap]]:
    infos = metric_infos(CLIP, REAL, options.get("metrics"), "hessel")
    return gaps(measured(cells, **options), infos, 0, measure_pairs)


@pytest.mark.slow
def test_every_metric_with_an_interval_has_each_cells_distance_from_its_own_best() -> None:
    found = found_gaps(CELLS)
    figures = {name: one.figures for name, one in measured(CELLS).items()}
    score = {name: gap["demo_clip.clip_score"] for name, gap in found.items() if "demo_clip.clip_score" in gap}
    assert {gap.base for gap in score.values()} == {"near"}
    assert set(score) == {"base", "far"}
    for name, gap in score.items():
        assert gap.difference == pytest.approx(
            figures[name]["demo_clip.clip_score"].value - figures["near"]["demo_clip.clip_score"].value
        )
        assert gap.low <= gap.difference <= gap.high < 0
        assert gap.num_pairs == 60
    assert {name.partition(".")[2] for gap in found.values() for name in gap} == {
        "frechet", "kid", "cmmd", "precision", "density", "vendi", "clip_score",
    }  # fmt: skip


@pytest.mark.slow
def test_a_distance_is_the_paired_difference_that_compare_gives() -> None:
    gap = found_gaps(CELLS)["far"]["demo_clip.frechet"]
    # `differences` sorts the pairs, and a bootstrap goes by rows.
    said = differences(CELLS, gap.base, CLIP, REAL, ["frechet"], "hessel", 0)["far"]["demo_clip.frechet"]
    assert gap.difference == pytest.approx(said.difference, rel=1e-9)
    assert (gap.low, gap.high) == pytest.approx((said.low, said.high), rel=0.1)


@pytest.mark.slow
def test_cells_with_missing_images_are_measured_over_those_they_share() -> None:
    cells = {"whole": BASE, "part": moved(BASE, -0.3, 0.1).taken(range(10, 60))}

    def measure_pairs(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Gap]:
        metrics = [name.partition(".")[2] for name in names]
        return differences(cells, best, CLIP, REAL, metrics, "hessel", 0)[cell_id]

    (found,) = filter(None, found_gaps(cells, measure_pairs, metrics=["clip_score"]).values())
    assert found["demo_clip.clip_score"].num_pairs == 50

    asked: list[Sequence[str]] = []

    def too_few(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Gap]:
        """As for a distance of fewer images than it can rank by."""
        asked.append(names)
        if "demo_clip.frechet" in names:
            raise DarkroomError("too few")
        return measure_pairs(best, cell_id, names)

    (found,) = filter(None, found_gaps(cells, too_few, metrics=["frechet", "clip_score"]).values())
    assert list(found) == ["demo_clip.clip_score"], "one that cannot be had costs no other"
    assert len(asked) <= 3

    def fails(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Gap]:
        raise DarkroomError("no two share")

    assert found_gaps(cells, fails) == {"whole": {}, "part": {}}


@pytest.mark.slow
def test_large_cells_are_paired_over_the_images_held() -> None:
    found = found_gaps({"near": CELLS["near"], "base": BASE}, most=40, most_compared=20)
    all_gaps = {name: gap for by_name in found.values() for name, gap in by_name.items()}
    assert all_gaps["demo_clip.frechet"].num_pairs == 40
    assert all_gaps["demo_clip.kid"].num_pairs == 20
    whole = found_gaps({"near": CELLS["near"], "base": BASE}, metrics=["clip_score"])["base"]["demo_clip.clip_score"]
    held = all_gaps["demo_clip.clip_score"]
    assert held.difference == pytest.approx(whole.difference)
    assert held.high - held.low == pytest.approx(whole.high - whole.low, rel=0.4)


def test_one_cell_has_nothing_to_be_compared_with() -> None:
    assert found_gaps({"only": BASE}) == {"only": {}}


@pytest.mark.slow
def test_a_cost_is_the_distance_from_the_same_cell_without() -> None:
    cells = measured(CELLS)
    found = costs(cells, {"far": "base"}, 0, never)
    assert {name for name, gaps_of_cell in found.items() if gaps_of_cell} == {"far"}
    score = found["far"]["demo_clip.clip_score"]
    assert score.base == "base"
    figures = {name: one.figures["demo_clip.clip_score"].value for name, one in cells.items()}
    assert score.difference == figures["far"] - figures["base"]
    assert score.low < score.difference < score.high < 0


def test_costs_are_as_wide_as_costs_ask_and_no_wider() -> None:
    """Of 20 cells that share their images 2 are lossy: no cell was chosen by its figure, so 2 gaps are looked at."""
    names = [f"cell {number}" for number in range(20)]
    cells = measured(
        {name: moved(BASE, 0, 0.3, seed) for seed, name in enumerate(names)}, metrics=["clip_score", "kid"]
    )
    lossless = {"cell 1": "cell 0", "cell 3": "cell 2"}
    found = costs(cells, lossless, 0, never)
    kid = "demo_clip.kid"
    differences_of = [cells[one].influence[kid] - cells[base].influence[kid] for one, base in lossless.items()]
    widths = joint_margins(np.stack(differences_of, axis=1), seed=0).widths
    for cell_id, width in zip(lossless, widths, strict=True):
        gap = found[cell_id][kid]
        assert (gap.high - gap.low) / 2 == pytest.approx(width)
