"""The committed weights: small, clean, loadable by anybody, and good."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from darkroom.bench.demo_check import Setting, accuracy, check_clip, render
from darkroom.bench.style_check import check_loras, styles_show
from darkroom.demo import CLIP_FOLDER, LORAS, MODEL_FOLDER, world
from darkroom.demo.styles import STYLES

WEIGHTS = MODEL_FOLDER.parent


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tests run in two processes, whose threads would wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


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
    scenes = world.distinct_scenes(77, 32)
    found = accuracy(render(pipe, scenes, Setting(4.0, 20), seed=1), scenes)
    # With room for so few captions; `darkroom check_demo` holds the bar itself.
    assert found.background > 0.95
    assert found.colour > 0.85
    assert found.relation > 0.85
    assert found.shape > 0.75
    assert found.size > 0.8
    assert found.everything > 0.6


@pytest.mark.slow
def test_the_small_clip_tells_captions_apart() -> None:
    figures = check_clip(CLIP_FOLDER, seed=1, report=lambda line: None)
    assert min(figures.one_word.values()) >= 0.95
    assert figures.recall_at_1 >= 0.85


@pytest.mark.slow
def test_more_weight_of_a_lora_shows_more_of_its_style() -> None:
    assert styles_show(check_loras(MODEL_FOLDER, LORAS, 16, seed=1, report=print))


def test_there_is_a_small_lora_of_each_style() -> None:
    assert LORAS.keys() == STYLES.keys()
    assert all(file.stat().st_size < 400_000 for file in LORAS.values())


def test_weights_lie_where_the_package_says() -> None:
    assert (MODEL_FOLDER / "model_index.json").is_file()
    assert Path(CLIP_FOLDER, "preprocessor_config.json").is_file()
