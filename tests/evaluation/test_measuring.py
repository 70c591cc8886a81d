import math
import re
from dataclasses import replace

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import measuring
from darkroom.evaluation.catalogue import CATALOGUE, convention
from darkroom.evaluation.figures import Evaluation, put_evaluation, read_evaluations
from darkroom.evaluation.frechet import extrapolated_fid, frechet_distance
from darkroom.evaluation.gaps import gaps
from darkroom.evaluation.inputs import MetricInputs
from darkroom.evaluation.kernel_distances import cmmd, kid
from darkroom.evaluation.measuring import metric_infos
from darkroom.evaluation.moments import FeatureMoments
from darkroom.evaluation.neighbours import neighbours
from darkroom.evaluation.reference_free import (
    CLIP_CONVENTIONS,
    clip_score,
    image_clip_scores,
    inception_score,
    softmax,
    vendi_score,
)
from darkroom.runs.features import ExtractorInfo, ImageFeatures, Score
from darkroom.storage.store import open_store, parse_spec
from tests.evaluation.sets import CLIP, DIMENSION, INCEPTION, figures_of, images, reference, statistics


def by_metric(found: dict, extractor: str = "demo_clip") -> dict:
    return {name.removeprefix(f"{extractor}."): figure for name, figure in found.items()}


def test_the_figures_are_the_metrics_of_stored_features() -> None:
    shown, real = images(60), reference(80)
    found = by_metric(figures_of(shown, CLIP, real, None, "hessel", 0))
    near = neighbours(shown.features, real.features)
    unit, real_unit = (
        rows / np.linalg.norm(rows.astype(float), axis=1)[:, None] for rows in (shown.features, real.features)
    )
    expected = {
        "frechet": frechet_distance(FeatureMoments.of(shown.features).gaussian(), real.gaussian),
        "kid": kid(shown.features, real.features),
        "cmmd": cmmd(unit, real_unit),
        "precision": near.precision,
        "recall": near.recall,
        "density": near.density,
        "coverage": near.coverage,
        "vendi": vendi_score(shown.features),
        "clip_score": clip_score(shown.cosines, "hessel"),
    }
    assert {name: figure.value for name, figure in found.items()} == pytest.approx(expected, rel=1e-12)


def test_every_figure_says_how_many_images_it_is_of_and_where_its_interval_lies() -> None:
    found = by_metric(figures_of(images(60), CLIP, reference(80), None, "hessel", 0))
    for name, figure in found.items():
        assert figure.num_images == 60
        assert figure.num_reference == (80 if CATALOGUE[name].needs_reference else None)
        if CATALOGUE[name].has_interval:
            assert figure.low <= figure.value <= figure.high
            assert figure.low < figure.high
        else:
            assert figure.low is figure.high is None


def unhad(*arguments) -> str:
    """Why the one figure that is asked for cannot be had."""
    (figure,) = figures_of(*arguments).values()
    assert math.isnan(figure.value)
    return figure.warnings[0]


def test_a_distance_warns_of_too_few_images_and_unequal_numbers() -> None:
    (figure,) = figures_of(images(10), CLIP, reference(80), ["frechet"], "hessel", 0).values()
    assert [words in " ".join(figure.warnings) for words in ("fewer than twice", "10 images against 80")] == [True] * 2


def test_inception_has_its_own_names() -> None:
    shown, real = images(60), reference(60)
    found = figures_of(
        shown, INCEPTION, real, ["frechet", "fid", "fid_infinity", "inception_score"], "hessel", 3, doubled
    )
    assert list(found) == ["inception_v3.fid", "inception_v3.fid_infinity", "inception_v3.inception_score"]
    expected = extrapolated_fid(shown.features, shown.image_ids, real.gaussian, seed=3)
    assert found["inception_v3.fid_infinity"].value == expected
    infos = metric_infos(INCEPTION, real, ["frechet", "kid"], "hessel")
    assert [info.title for info in infos.values()] == ["FID", "KID (inception_v3)"]
    assert "inception_v3.fid" in metric_infos(INCEPTION, real, None, "hessel")


def doubled(features: np.ndarray) -> np.ndarray:
    return 2 * features


def test_the_inception_score_depends_on_who_the_images_are_and_not_on_their_order() -> None:
    shown = images(60)
    turned = shown.taken(list(range(59, -1, -1)))
    first, other = (
        figures_of(one, INCEPTION, None, ["inception_score"], "hessel", 0, doubled)["inception_v3.inception_score"]
        for one in (shown, turned)
    )
    assert first.value == other.value
    in_given_order = inception_score(softmax(2 * shown.features)).mean
    assert first.value != in_given_order
    assert first.value == pytest.approx(in_given_order, rel=0.5)
    assert re.search(
        r"inception_v3\.inception_score: needs the network's class logits",
        unhad(shown, INCEPTION, None, ["inception_score"], "hessel", 0),
    )


@pytest.mark.parametrize("scale", CLIP_CONVENTIONS)
def test_the_clip_scores_scale_is_the_callers_and_said(scale: str) -> None:
    shown = images(200)
    (figure,) = figures_of(shown, CLIP, None, ["clip_score"], scale, 0).values()
    (info,) = metric_infos(CLIP, None, ["clip_score"], scale).values()
    assert figure.value == pytest.approx(clip_score(shown.cosines, scale), rel=1e-9)
    assert image_clip_scores(shown.cosines, scale).mean() == pytest.approx(figure.value, rel=1e-6)
    assert info.convention.startswith(f"{scale}: ")
    assert figure.high - figure.low == pytest.approx(
        4 * image_clip_scores(shown.cosines, scale).std() / 200**0.5, rel=0.15
    )


def test_scales_have_words_and_an_unknown_one_is_refused() -> None:
    assert all(one.words for one in CLIP_CONVENTIONS.values())
    with pytest.raises(DarkroomError, match="clip_convention: no 'percent'; take one of hessel"):
        figures_of(images(5), CLIP, None, ["vendi"], "percent", 0)


def test_truncated_prompts_are_counted() -> None:
    shown = images(20)
    cut = replace(shown, truncated=np.arange(20) < 3)
    (figure,) = figures_of(cut, CLIP, None, ["clip_score"], "hessel", 0).values()
    assert figure.warnings == ("3 of 20 prompts are longer than demo_clip reads; their rest is not judged",)


def test_large_sets_are_thinned_by_ids_and_say_so() -> None:
    shown, real = images(50), reference(70)
    twice = replace(real, ids=(real.ids[1], *real.ids[1:]))  # a reference may hold one image twice

    def thinned(one: ImageFeatures, metrics: list[str], seed: int) -> dict:
        return by_metric(figures_of(one, CLIP, twice, metrics, "hessel", seed, most_compared=30))

    turned = shown.taken(list(range(49, -1, -1)))
    first, other = (thinned(one, ["kid", "recall", "frechet"], 0) for one in (shown, turned))
    assert (first["kid"].num_images, first["kid"].num_reference, first["frechet"].num_images) == (30, 30, 50)
    assert first["kid"].warnings == (
        "computed from 30 of 50 images, chosen by their ids and the seed",
        "computed from 30 of 70 reference images, chosen by their ids and the seed",
    )
    assert (first["kid"], first["recall"]) == (other["kid"], other["recall"])
    assert thinned(shown, ["kid"], 1)["kid"].value != first["kid"].value


def test_without_a_reference_only_figures_that_need_none_are_had() -> None:
    assert by_metric(figures_of(images(9), CLIP, None, None, "hessel", 0)).keys() == {"vendi", "clip_score"}
    assert re.search(
        r"demo_clip\.kid: needs reference images; give a reference", unhad(images(9), CLIP, None, ["kid"], "hessel", 0)
    )


def test_what_nobody_named_and_cannot_be_computed_is_nan_with_its_reason() -> None:
    found = by_metric(figures_of(images(40), CLIP, statistics(), None, "hessel", 0))
    assert math.isfinite(found["frechet"].value)
    assert found["frechet"].num_reference is None
    assert math.isnan(found["kid"].value)
    assert "stats.npz holds statistics alone" in found["kid"].warnings[0]
    assert re.search(
        "holds statistics alone; give a reference of images",
        unhad(images(40), CLIP, statistics(), ["kid"], "hessel", 0),
    )


@pytest.mark.parametrize("count", [0, 1])
def test_too_few_images_give_nan_and_a_reason(count: int) -> None:
    found = figures_of(images(count), CLIP, reference(20), None, "hessel", 0)
    for name, figure in found.items():
        assert math.isnan(figure.value)
        assert figure.warnings[0].startswith(f"{name}: ")
        assert figure.num_images == count
    assert re.search(r"demo_clip\.vendi: ", unhad(images(count), CLIP, None, ["vendi"], "hessel", 0))


def test_features_without_cosines_have_no_clip_score() -> None:
    shown = images(9)
    blind = ImageFeatures(shown.image_ids, shown.features, np.full(9, np.nan, np.float32), shown.truncated)
    assert re.search("needs captions", unhad(blind, CLIP, None, ["clip_score"], "hessel", 0))


def test_definitions_are_complete_and_agree_with_what_is_measured() -> None:
    for name, definition in CATALOGUE.items():
        extractor = INCEPTION if "inception_v3" in definition.extractors else CLIP
        extractor = replace(extractor, is_scorer=definition.of_scores)
        prompts = [f"p{number // 2}" for number in range(120)]
        shown = (images(120), extractor, reference(120), [name], "hessel", 0, doubled)
        (figure,) = figures_of(*shown, prompts=prompts).values()
        assert (figure.low is not None) == definition.has_interval == (not definition.interval.startswith("none: "))
        assert math.isfinite(figure.value)
        assert convention(definition, "hessel")


def scored(count: int, num_prompts: int, share: float) -> MetricInputs:
    """Two scores of images of so many prompts; the second applies to a share of the prompts alone."""
    rng = np.random.default_rng(3)
    prompts = [f"p{number % num_prompts}" for number in range(count)]
    scores = rng.normal(size=(num_prompts, 2))[np.arange(count) % num_prompts] + rng.normal(size=(count, 2))
    scores[np.arange(count) % num_prompts >= share * num_prompts, 1] = np.nan
    ids = tuple(f"i{number}" for number in range(count))
    found = ImageFeatures(ids, scores.astype(np.float32), np.full(count, np.nan, np.float32), np.zeros(count, bool))
    return MetricInputs(found, None, "hessel", 0, prompts=prompts)


SCORER = ExtractorInfo("mine", "mine 1", "none", 2, True, scores=(Score("whole"), Score("part", False)))


def test_a_score_that_does_not_apply_counts_in_no_mean_and_in_no_interval() -> None:
    inputs = scored(600, 100, 0.4)
    found = measuring.figures_of(inputs, SCORER, None).figures
    scores = inputs.images.features[:, 1].astype(np.float64)
    figure = found["mine.part"]
    assert figure.value == pytest.approx(np.nanmean(scores))
    assert (figure.num_images, found["mine.whole"].num_images) == (240, 600)
    assert figure.warnings == ("does not apply to 360 of 600 images, which count in no mean",)
    assert not found["mine.whole"].warnings
    prompts, rng = np.arange(600) % 100, np.random.default_rng(0)
    drawn = (
        np.concatenate([np.flatnonzero(prompts == each) for each in rng.integers(0, 100, 100)]) for _ in range(600)
    )
    resampled = [np.nanmean(scores[rows]) for rows in drawn]  # the figure of other prompts, some without this score
    low, high = np.percentile(resampled, [2.5, 97.5])
    assert figure.high - figure.low == pytest.approx(high - low, rel=0.15)
    definitions = metric_infos(SCORER, None, None, "hessel")
    assert {name: each.higher_is_better for name, each in definitions.items()} == {
        "mine.whole": True,
        "mine.part": False,
    }
    assert definitions["mine.part"].title == "Mean part (mine)"


def test_a_score_of_few_prompts_says_so_and_one_of_none_is_no_figure() -> None:
    few = measuring.figures_of(scored(600, 100, 0.05), SCORER, None).figures["mine.part"]
    assert few.warnings[1] == "applies to images of 5 prompts, too few for its interval to be trusted"
    none = measuring.figures_of(scored(600, 100, 0), SCORER, None).figures["mine.part"]
    assert math.isnan(none.value)
    assert none.warnings[0].startswith("mine.part: it applies to 0 of 600 images, too few for a figure")


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bounds_and_figures_survive_storing(tmp_path) -> None:
    arguments = (images(30), CLIP, reference(30), None, "hessel")
    figures, again, other = (figures_of(*arguments, seed, most_compared=20) for seed in (4, 4, 5))
    assert figures == again != other
    infos = metric_infos(CLIP, reference(30), None, "hessel")
    assert infos.keys() == figures.keys()
    assert infos["demo_clip.kid"].reference_digest == "d" * 64
    assert infos["demo_clip.vendi"].reference == ""
    store = open_store(parse_spec(str(tmp_path)))
    put_evaluation(store, "e", Evaluation("2025-01-01T00:00:00Z", infos, {"c": figures}))
    assert read_evaluations(store) == [Evaluation("2025-01-01T00:00:00Z", infos, {"c": figures})]


@pytest.mark.parametrize("count", [2, 9])
def test_of_few_prompts_too_pairs_of_one_prompt_are_left_out(count: int) -> None:
    """A perfect model of prompts that the reference shares has a KID of 0, and its interval is of images."""
    rng = np.random.default_rng(0)
    found = []
    for _ in range(60):
        scenes = np.repeat(rng.normal(size=(count, DIMENSION)), 4, axis=0)
        sets = [(scenes + rng.normal(0, 0.3, scenes.shape)).astype(np.float32) for _ in range(2)]
        prompts = [f"prompt {row // 4}" for row in range(len(scenes))]
        shown = replace(images(len(scenes)), features=sets[0])
        real = replace(reference(len(scenes)), features=sets[1], prompts=tuple(prompts))
        found.append(figures_of(shown, CLIP, real, ["kid"], "hessel", 0, prompts=prompts)["demo_clip.kid"])
    values = np.array([figure.value for figure in found])
    assert abs(values.mean()) < 3 * values.std() / 60**0.5
    assert f"prompts: {count}, too few for a sample of prompts" in found[0].warnings[0]


def test_of_one_prompt_all_pairs_count() -> None:
    shown, real = images(20), reference(30)
    known = figures_of(shown, CLIP, real, ["kid"], "hessel", 0, prompts=["a"] * 20)["demo_clip.kid"]
    assert known.value == figures_of(shown, CLIP, real, ["kid"], "hessel", 0)["demo_clip.kid"].value


def test_an_interval_holds_its_own_figure_where_chance_takes_it_below_0() -> None:
    """CMMD's pairs of different prompts may be nearer across than within: 40 prompts of 4 images, a perfect model."""
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        features = np.repeat(rng.normal(size=(40, DIMENSION)), 4, axis=0) + rng.normal(0, 0.1, (160, DIMENSION))
        shown = replace(images(160), features=features.astype(np.float32))
        prompts = [f"prompt {row // 4}" for row in range(160)]
        found.append(figures_of(shown, CLIP, reference(400), ["cmmd"], "hessel", 0, prompts=prompts)["demo_clip.cmmd"])
    assert min(figure.value for figure in found) < 0
    assert all(figure.low < figure.value < figure.high for figure in found)


def test_a_share_of_few_prompts_is_as_sure_as_these_make_it() -> None:
    """All of 12 prompts' images hit, and the score applies to no other of 600 prompts."""
    inputs = scored(600, 600, 0.02)
    hits = np.where(np.isnan(inputs.images.features), np.nan, 1).astype(np.float32)
    found = measuring.figures_of(replace(inputs, images=replace(inputs.images, features=hits)), SCORER, None)
    part, whole = found.figures["mine.part"], found.figures["mine.whole"]
    assert (part.value, part.high) == (whole.value, whole.high) == (1, 1)
    assert (part.low, whole.low) == pytest.approx((0.7575, 0.9936), abs=1e-4)  # Wilson's of 12 and of 600
    cells = {"a": found, "b": replace(found, influence={**found.influence})}
    (gap,) = gaps(cells, metric_infos(SCORER, None, ["part"], "hessel"), 0, lambda *_: {})["b"].values()
    assert gap.high > 2**0.5 / 12


def test_a_figure_that_no_image_changes_says_that_its_interval_means_nothing() -> None:
    shown = scored(30, 30, 1)
    equal = replace(shown, images=replace(shown.images, features=np.full((30, 2), 3, np.float32)))
    for figure in measuring.figures_of(equal, SCORER, None).figures.values():
        assert (figure.low, figure.value, figure.high) == (3, 3, 3)
        assert figure.warnings == (
            "no image of 30 differs in it: an interval without width says nothing of other images",
        )


def test_equal_images_have_figures() -> None:
    """As of a model that makes everything black."""
    black = replace(images(30), features=np.ones((30, DIMENSION), np.float32))
    found = by_metric(figures_of(black, CLIP, reference(40), None, "hessel", 0))
    assert all(math.isfinite(figure.value) for figure in found.values())
    assert found["vendi"].value == pytest.approx(1)
    assert found["frechet"].low == found["frechet"].high == pytest.approx(found["frechet"].value)
    others = replace(reference(40), gaussian=FeatureMoments.of(black.features).gaussian())
    assert figures_of(images(30), CLIP, others, ["frechet"], "hessel", 0)["demo_clip.frechet"].low > 0


def test_of_several_references_each_has_figures_of_its_own_and_what_needs_none_comes_once() -> None:
    shown, one, other = images(60), reference(80), reference(50, seed=7)
    both = figures_of(shown, CLIP, {"one": one, "other": other}, ["kid", "vendi", "precision@other"], "hessel", 0)
    assert list(both) == [f"demo_clip.{name}" for name in ("kid@one", "kid@other", "vendi", "precision@other")]
    for name, real in (("one", one), ("other", other)):
        assert both[f"demo_clip.kid@{name}"] == figures_of(shown, CLIP, real, ["kid"], "hessel", 0)["demo_clip.kid"]
    infos = metric_infos(CLIP, {"one": one, "other": other}, ["kid", "vendi"], "hessel")
    assert [info.title for info in infos.values()] == [
        "KID against one (demo_clip)", "KID against other (demo_clip)", "Vendi score (demo_clip)",
    ]  # fmt: skip
    assert [info.compared_with for info in infos.values()] == ["one: real", "other: real", ""]
    single = metric_infos(CLIP, one, ["kid"], "hessel")["demo_clip.kid"]
    assert (single.title, single.compared_with) == ("KID (demo_clip)", "real")


def test_several_references_share_what_is_known_of_the_images_alone() -> None:
    inputs = MetricInputs(images(60), {"a": reference(30), "b": reference(40)}, "hessel", 0)
    first, second = inputs.against("a"), inputs.against("b")
    assert first is inputs.against("a")
    assert first.moments is second.moments is inputs.moments
    assert (first.num_reference_compared, second.num_reference_compared) == (30, 40)


def test_mind_takes_as_many_images_of_either_set_and_says_so() -> None:
    (few,) = figures_of(images(60), CLIP, reference(40), ["mind"], "hessel", 0).values()
    (many,) = figures_of(images(60), CLIP, reference(90), ["mind"], "hessel", 0).values()
    assert [(each.num_images, each.num_reference) for each in (few, many)] == [(40, 40), (60, 60)]
    assert "computed from 40 of 60 images, chosen by their ids and the seed" in few.warnings
    assert any("papers state it of 5,000" in line for line in few.warnings)
    assert 0 <= few.low < few.value < few.high
    (none,) = figures_of(images(60), CLIP, statistics(), ["mind"], "hessel", 0).values()
    assert "statistics alone" in none.warnings[0]
