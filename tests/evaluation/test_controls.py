"""The reference against itself, and images with captions of other prompts."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from darkroom.evaluation.controls import real_control, rescored_control, shuffled_control
from darkroom.runs.features import PairedFeatures
from tests.evaluation.sets import CLIP, DIMENSION, Known, cell, images, reference, statistics


def real(num_images: int, known: Known, seed: int = 0, metrics: Sequence[str] | None = None):
    return real_control(num_images, CLIP, known, metrics, "hessel", seed)


def test_real_images_are_measured_against_the_others() -> None:
    found = real(50, reference(200))
    assert found.note == "50 images of real against its other 150"
    assert "demo_clip.clip_score" not in found.figures, "a reference has no captions"
    assert {figure.num_images for figure in found.figures.values()} == {50}
    assert found.figures["demo_clip.kid"].num_reference == 150
    assert found.figures["demo_clip.kid"].low < 0 < found.figures["demo_clip.kid"].high
    assert not any(figure.is_ranked for figure in found.figures.values())


def test_a_small_reference_is_halved_and_says_so() -> None:
    found = real(150, reference(201))
    assert found.note == "100 images of real, half of the 201 that there are, against its other 101"
    assert found.figures["demo_clip.vendi"].num_images == 100


def test_who_is_measured_depends_on_ids_and_seed_and_not_on_the_order_of_rows() -> None:
    known = reference(100)
    turned = replace(known, ids=known.ids[::-1], features=known.features[::-1])
    value, again, other = (
        real(30, one, seed, ["kid"]).figures["demo_clip.kid"].value
        for one, seed in ((known, 0), (turned, 0), (known, 1))
    )
    assert value == pytest.approx(again, rel=1e-9)
    assert value != other


def test_images_of_one_prompt_are_on_one_side() -> None:
    """Of ten prompts, whose images are copies of each other: on two sides they would be their own neighbours."""
    known = reference(100)
    rows = np.repeat(np.arange(10), 10)
    prompts = tuple(f"p{row}" for row in rows)
    copies = replace(known, features=known.features[rows] + np.float32(0), prompts=prompts)
    assert real(50, copies, metrics=["coverage"]).figures["demo_clip.coverage"].value == 0


def test_a_reference_without_images_has_no_row_and_says_why() -> None:
    found = real(50, statistics())
    assert (found.figures, found.note) == (
        {},
        "no row: stats.npz holds statistics alone; give images, to have their own figures",
    )
    assert "no row: real has 3 images, too few" in real(50, reference(3)).note


def shuffled(of: PairedFeatures, captions: Sequence[str], read) -> object:
    return shuffled_control(of, captions, read, CLIP, None, None, "x100", 0)


def test_each_image_gets_the_caption_of_another_prompt() -> None:
    """Captions lie where their prompt's images do, so that an image's own would have a cosine of 1."""
    rng = np.random.default_rng(0)
    directions = np.linalg.qr(rng.normal(size=(DIMENSION, DIMENSION)))[0].astype(np.float32)
    rows = np.repeat(np.arange(DIMENSION), 5)
    pairs = tuple((f"p{row}", sample) for sample, row in enumerate(rows))
    shown = PairedFeatures(pairs, replace(images(len(rows)), features=7 * directions[rows]))
    captions = [f"caption {row}" for row in rows]
    read: list[str] = []

    def caption_features(texts: Sequence[str]) -> np.ndarray:
        read.extend(texts)
        return directions[[int(text.split()[1]) for text in texts]]

    found = shuffled(shown, captions, caption_features)
    (figure,) = found.figures.values()
    assert figure.value == pytest.approx(0, abs=1e-4)
    assert (figure.num_images, figure.is_ranked) == (len(rows), False)
    assert len(read) == DIMENSION, "each caption is read once"
    assert found.note == "30 images of the first cell, each with another one's prompt"


def test_where_most_images_are_of_one_prompt_there_is_no_row() -> None:
    found = shuffled(cell(6), ["a", "a", "a", "a", "b", "c"], lambda texts: np.ones((len(texts), DIMENSION)))
    assert (found.figures, found.note) == ({}, "no row: most of the images that have features are of one prompt")


def test_cells_without_images_have_no_row_beside_them() -> None:
    assert real(0, reference(200)).note == "no row: cells have 0 image(s), too few to measure as many of real"


def test_a_named_reference_is_measured_by_its_own_metrics() -> None:
    names = ["kid@one", "kid@other", "vendi", "clip_score"]
    found = real_control(50, CLIP, reference(200), names, "hessel", 0, named="one")
    assert list(found.figures) == ["demo_clip.kid@one", "demo_clip.vendi"]
    alone = real(50, reference(200), metrics=["kid"]).figures["demo_clip.kid"]
    assert found.figures["demo_clip.kid@one"] == alone


def test_a_scorer_is_asked_again_with_prompts_of_other_images() -> None:
    scorer = replace(CLIP, name="fit", is_scorer=True, dimension=1, scores=())
    asked: list[tuple[str, str]] = []

    def rescore(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        asked.extend(pairs)
        return np.arange(len(pairs), dtype=np.float32)[:, None]

    whole = cell(300)
    found = rescored_control(whole, rescore, scorer, ["score"], "hessel", 0)
    prompt_of = dict(zip(whole.images.image_ids, whole.prompts, strict=True))
    assert len(asked) == 100
    assert all(prompt_of[own] != prompt_of[other] for own, other in asked)
    assert found.figures["fit.score"].value == pytest.approx(49.5)
    assert found.note == "100 images of the first cell, each with another one's prompt"
    one = replace(whole, texts=("p",) * 300)
    assert "of one prompt" in rescored_control(one, rescore, scorer, ["score"], "hessel", 0).note
