"""The committed weights: small, clean, loadable by anybody, and good."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from pipeline.demo import CLIP_FOLDER, MODEL_FOLDER, world
from pipeline.demo.check import Setting, accuracy, check_clip, drawings, render
from pipeline.demo.features import SmallClip, frechet_distance

WEIGHTS = MODEL_FOLDER.parent


def test_they_take_at_most_12_mb() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) <= 12_000_000


def test_no_path_of_the_machine_that_made_them_is_in_them() -> None:
    for path in WEIGHTS.rglob("*.json"):
        text = path.read_text()
        assert not re.search(r'"/[a-z]', text), path
        assert "_name_or_path" not in json.loads(text) or not json.loads(text)["_name_or_path"], path


@pytest.mark.slow
def test_plain_diffusers_draws_what_captions_say() -> None:
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(MODEL_FOLDER)
    pipe.set_progress_bar_config(disable=True)
    scenes = world.distinct_scenes(77, 64)
    found = accuracy(render(pipe, scenes, Setting(4.0, 20), seed=1), scenes)
    # With room for so few captions; `darkroom check_demo` holds the bar itself.
    assert found.background > 0.9
    assert found.colour > 0.85
    assert found.shape > 0.7
    assert found.size > 0.7
    # Which of two objects lies where is not learned yet, so neither `relation` nor `everything` is held to anything
    # here; `darkroom check_demo` measures both and says that they are below the bar.


def test_the_small_clip_tells_captions_apart() -> None:
    figures = check_clip(CLIP_FOLDER, seed=1, report=lambda line: None)
    # The relation's word is below the bar of 95 % that `darkroom check_demo` holds, and only kept from getting worse.
    assert figures.one_word["relation"] > 0.84
    assert min(share for part, share in figures.one_word.items() if part != "relation") > 0.95
    assert figures.recall_at_1 > 0.8


def test_the_frechet_distance_is_zero_for_the_same_and_grows_with_a_shift() -> None:
    features = SmallClip(CLIP_FOLDER).of_pictures(drawings(world.scenes(0, 200, held_out=True), 0))
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-6)
    assert frechet_distance(features, features + 0.1) == pytest.approx(features.shape[1] * 0.01, rel=1e-3)
    rng = np.random.default_rng(0)
    assert frechet_distance(rng.normal(size=(4000, 8)), 2 * rng.normal(size=(4000, 8))) == pytest.approx(8, rel=0.1)


def test_weights_lie_where_the_package_says() -> None:
    assert (MODEL_FOLDER / "model_index.json").is_file()
    assert Path(CLIP_FOLDER, "preprocessor_config.json").is_file()
