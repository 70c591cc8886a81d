"""Large cells: what is streamed equals what is computed at once, and memory stays flat."""

import pickle
import tracemalloc
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from darkroom.evaluation.gathering import Gathering, gathered, part_of
from darkroom.evaluation.measuring import measured_cell
from darkroom.evaluation.moments import Gaussian
from darkroom.evaluation.reference_free import CLIP_CONVENTIONS
from darkroom.runs.features import ExtractorInfo, ImageFeatures, PairedFeatures, joined_pairs
from tests.evaluation.sets import CLIP, Known, cell, reference

SCORER = ExtractorInfo("sharpness", "none", "none", 1, is_scorer=True)


def parts(whole: PairedFeatures, size: int = 16) -> Iterator[PairedFeatures]:
    count = len(whole.pairs)
    return (whole.taken(range(start, min(start + size, count))) for start in range(0, count, size))


def figures(whole: PairedFeatures, most: int, scale: str = "hessel", seed: int = 0) -> dict:
    found = measured_cell(gathered(parts(whole), most, block=64), CLIP, reference(90), None, scale, seed)
    return {name.partition(".")[2]: figure for name, figure in found.figures.items()}


def test_a_cell_that_fits_is_held_as_it_is() -> None:
    whole = cell(300)
    found = gathered(parts(whole), most=300, block=64)
    assert found.totals is None
    assert found.held.pairs == whole.pairs
    np.testing.assert_array_equal(found.held.images.features, whole.images.features)


@pytest.mark.slow
@pytest.mark.parametrize("scale", CLIP_CONVENTIONS)
def test_streamed_figures_are_those_of_all_images(scale: str) -> None:
    whole = cell(500)
    at_once, streamed = figures(whole, 500, scale), figures(whole, 200, scale)
    for name in ("frechet", "clip_score"):
        assert streamed[name].value == pytest.approx(at_once[name].value, rel=1e-9)
        assert streamed[name].num_images == 500
        widths = [one[name].high - one[name].low for one in (streamed, at_once)]
        assert widths[0] == pytest.approx(widths[1], rel=0.25)
        assert "its interval comes from 200 of 500 images, chosen by their prompts" in streamed[name].warnings
    assert streamed["vendi"].num_images == 200
    assert "computed from 200 of 500 images, chosen by their prompts" in streamed["vendi"].warnings


def test_a_scorers_mean_is_of_all_images() -> None:
    whole = cell(500)
    for most in (500, 100):
        cell_images = gathered(parts(whole), most, block=64)
        figure = measured_cell(cell_images, SCORER, None, None, "hessel", 0).figures["sharpness.score"]
        assert figure.value == pytest.approx(whole.images.features[:, 0].mean(dtype=np.float64), rel=1e-12)
        assert figure.num_images == 500
    whole.images.features[::5, 0] = np.nan  # of images that the score does not apply to
    for most in (500, 100):
        cell_images = gathered(parts(whole), most, block=64)
        figure = measured_cell(cell_images, SCORER, None, None, "hessel", 0).figures["sharpness.score"]
        assert figure.value == pytest.approx(np.nanmean(whole.images.features[:, 0].astype(np.float64)), rel=1e-12)
        assert figure.num_images == 400
        assert "does not apply to 100 of 500 images, which count in no mean" in figure.warnings


def test_truncated_prompts_of_all_images_are_counted() -> None:
    whole = cell(500)
    whole.images.truncated[::10] = True
    assert "50 of 500 prompts are longer" in " ".join(figures(whole, 100)["clip_score"].warnings)


def test_cells_hold_the_same_pairs_whatever_their_shards_and_order() -> None:
    first = gathered(parts(cell(500)), most=100, block=64).held
    other = gathered(parts(cell(500, seed=1), size=70), most=100, block=64).held
    turned = gathered(parts(cell(500).taken(range(499, -1, -1))), most=100, block=64).held
    assert len(first.pairs) == 100
    assert first.pairs == other.pairs
    assert set(first.pairs) == set(turned.pairs)
    rows = [cell(500).pairs.index(pair) for pair in first.pairs]
    np.testing.assert_array_equal(first.images.features, cell(500).images.features[rows])


def test_shards_without_images_are_no_obstacle() -> None:
    whole = cell(200)
    empty = whole.taken([])
    found = gathered([empty, *parts(whole), empty], most=50, block=64)
    assert (len(found.held.pairs), found.totals.moments.count) == (50, 200)
    assert len(gathered([empty, empty], most=50, block=64).held.pairs) == 0


def peak_bytes(num_images: int) -> int:
    """Of numpy's and Python's memory, while a cell of so many images of 64 dimensions is measured."""

    def shards() -> Iterator[PairedFeatures]:
        rng = np.random.default_rng(0)
        for start in range(0, num_images, 64):
            ids = tuple(f"{start + number}" for number in range(64))
            features = rng.normal(size=(64, 64)).astype(np.float32)
            images = ImageFeatures(ids, features, np.zeros(64, np.float32), np.zeros(64, bool))
            yield PairedFeatures(tuple((name, 0) for name in ids), images)

    real = Known("stats.npz", "e" * 64, (), None, Gaussian(np.zeros(64), np.eye(64), None))
    clip = ExtractorInfo("clip", "w", "r", 64, reads_captions=True)
    tracemalloc.start()
    try:
        held = gathered(shards(), most=500, block=512)
        measured_cell(held, clip, real, ["frechet", "vendi", "clip_score"], "hessel", 0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.slow
def test_peak_memory_does_not_grow_with_the_images() -> None:
    peaks = [peak_bytes(count) for count in (2_000, 8_000)]
    assert peaks[1] < 1.1 * peaks[0]


def test_together_joins_pairs_and_features() -> None:
    whole = cell(30)
    joined = joined_pairs(list(parts(whole, 7)))
    assert joined.pairs == whole.pairs
    np.testing.assert_array_equal(joined.images.cosines, whole.images.cosines)


def of_prompts(counts: Sequence[int], repeats_ids: bool = False) -> PairedFeatures:
    """Two features: a prompt's own number, which its images share, and noise; cosines likewise."""
    rng = np.random.default_rng(1)
    rows = np.repeat(np.arange(len(counts)), counts)
    pairs = tuple((f"p{row}" if repeats_ids else f"p{row}-{number}", number) for number, row in enumerate(rows))
    cosines = (rng.normal(0, 0.1, len(counts))[rows] + rng.normal(0, 0.1, len(rows))).astype(np.float32)
    features = rng.normal(size=(len(rows), 2)).astype(np.float32)
    names = tuple(f"i{number}" for number in range(len(rows)))
    images = ImageFeatures(names, features, cosines, np.zeros(len(rows), bool))
    order = rng.permutation(len(rows)).tolist()
    return PairedFeatures(pairs, images, texts=tuple(f"text {row}" for row in rows)).taken(order)


@pytest.mark.parametrize("repeats_ids", [True, False])
def test_of_few_prompts_images_of_each_are_held(repeats_ids: bool) -> None:
    whole = of_prompts([3000, 2000, 2000, 10, 2000], repeats_ids)
    found = gathered(parts(whole, 100), most=1000, block=512)
    assert Counter(found.held.prompts) == {"text 3": 10} | {f"text {row}": 200 for row in (0, 1, 2, 4)}
    assert found.share_of_prompts == 1
    turned = gathered(parts(whole.taken(range(len(whole.pairs))[::-1]), 70), most=1000, block=300)
    assert set(turned.held.pairs) == set(found.held.pairs)


def test_of_many_prompts_so_many_images_of_some_are_held() -> None:
    whole = of_prompts([60] * 90)
    found = gathered(parts(whole, 100), most=2000, block=512)
    assert set(Counter(found.held.prompts).values()) == {50}
    assert found.share_of_prompts == pytest.approx(40 / 90, rel=0.4)
    turned = gathered(parts(whole.taken(range(len(whole.pairs))[::-1]), 70), most=2000, block=300)
    assert set(turned.held.pairs) == set(found.held.pairs)


@pytest.mark.slow
@pytest.mark.parametrize("counts", [[200] * 30, [70] * 90, [2] * 3000])
def test_intervals_of_images_held_are_as_wide_as_of_all_prompts(counts: Sequence[int]) -> None:
    """Of which some are held, and of each some images: most often a little wider."""
    whole = of_prompts(counts)
    at_once, streamed = (
        measured_cell(gathered(parts(whole, 500), most, block=512), CLIP, None, ["clip_score"], "x100", 0)
        for most in (10_000, 2_000)
    )
    widths = [
        one.figures["demo_clip.clip_score"].high - one.figures["demo_clip.clip_score"].low
        for one in (streamed, at_once)
    ]
    assert 0.85 < widths[0] / widths[1] < 1.35


SPAN = 700


def in_spans(whole: PairedFeatures, most: int, told: str) -> Gathering:
    """As workers read them: `told` of no image that is held by then, of those that are, or of those of some spans ago.

    Each part travels as it does to the driver.
    """
    found, keys = Gathering(most), []
    for number, span in enumerate(parts(whole, SPAN)):
        keys.append(found.keys)
        known = {"nothing": (), "all": keys[-1], "late": keys[max(0, number - 3)]}[told]
        found.add(pickle.loads(pickle.dumps(part_of(parts(span), known, most, block=64))))
    return found


@pytest.mark.parametrize("counts", [[3000, 2000, 2000, 10, 2000], [60] * 90, [1] * 4000, [5] * 100])
def test_sums_and_images_held_are_those_of_a_single_reader_bit_for_bit(counts: Sequence[int]) -> None:
    whole = of_prompts(counts)
    one, *others = (in_spans(whole, 1000, told).gathered for told in ("nothing", "all", "late"))
    assert set(one.held.pairs) == set(gathered(parts(whole), most=1000, block=64).held.pairs)
    for other in others:
        assert other.held.pairs == one.held.pairs
        np.testing.assert_array_equal(other.held.images.features, one.held.images.features)
        assert other.share_of_prompts == one.share_of_prompts
        assert (other.totals is None) == (one.totals is None) == (len(whole.pairs) <= 1000)
        if one.totals and other.totals:
            assert other.totals.moments.count == len(whole.pairs)
            np.testing.assert_array_equal(other.totals.moments.mean, one.totals.moments.mean)
            np.testing.assert_array_equal(other.totals.moments.scatter, one.totals.moments.scatter)
            assert other.totals.cosines == one.totals.cosines


def test_parts_bring_ever_fewer_images_once_it_is_told_which_are_held() -> None:
    whole, found = of_prompts([1] * 8000), Gathering(1000)
    brought = []
    for span in parts(whole, 1000):
        part = part_of(parts(span), found.keys, 1000, block=64)
        brought.append(sum(len(each.keys) for each in part.held))
        found.add(part)
    assert brought[0] == 1000
    assert brought[-1] < 250


def test_spans_without_an_image_add_nothing() -> None:
    whole = of_prompts([1] * 300)
    found = Gathering(100)
    for part in (whole.taken([]), whole, whole.taken([])):
        found.add(part_of([part], found.keys, 100, block=64))
    assert found.gathered.totals.moments.count == 300
    assert not found.is_empty
    assert Gathering().is_empty
