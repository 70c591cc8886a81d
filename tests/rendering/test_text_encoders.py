"""Each text encoder of a model is told by what it is, with the tokens that it reads."""

import json
from pathlib import Path

import pytest

from darkroom.demo import MODEL_FOLDER
from darkroom.rendering.model_places import configuration_folder
from darkroom.rendering.text_encoders import text_encoders

LONG = "a photograph of a cat " * 40


def told(folder: Path, pipeline_class: str) -> dict[str, tuple[int, int]]:
    """Name -> (tokens that are read, tokens of a long prompt)."""
    return {each.name: (each.limit, each.count([LONG])[0]) for each in text_encoders(folder, pipeline_class)}


def test_encoders_of_a_known_size_are_called_as_they_are_known() -> None:
    sdxl = told(configuration_folder("darkroom/sdxl"), "StableDiffusionXLPipeline")
    assert sdxl == {"CLIP L (text_encoder)": (77, 202), "CLIP G (text_encoder_2)": (77, 202)}


@pytest.fixture
def sd3(models: dict[str, Path], tmp_path: Path) -> Path:
    """Stable Diffusion 3 with its third tokenizer, as which the first one stands in."""
    for name in ("tokenizer", "tokenizer_2", "text_encoder", "text_encoder_2"):
        (tmp_path / name).symlink_to(models["sd3"] / name)
    (tmp_path / "tokenizer_3").symlink_to(models["sd3"] / "tokenizer")
    index = json.loads((models["sd3"] / "model_index.json").read_text())
    named = {"tokenizer_3": index["tokenizer"], "text_encoder_3": ["transformers", "T5EncoderModel"]}
    (tmp_path / "model_index.json").write_text(json.dumps({**index, **named}))
    return tmp_path


def test_each_encoder_has_a_limit_of_its_own(sd3: Path) -> None:
    found = told(sd3, "StableDiffusion3Pipeline")
    assert list(found) == ["CLIP (text_encoder)", "CLIP (text_encoder_2)", "T5 (text_encoder_3)"]
    assert found["T5 (text_encoder_3)"][0] == 256
    assert found["CLIP (text_encoder)"][0] == 77


def test_the_embedded_model_has_one() -> None:
    assert list(told(MODEL_FOLDER, "StableDiffusionPipeline")) == ["CLIP (text_encoder)"]


@pytest.mark.parametrize("entry", [["mine", "Mine"], [None, None]])
def test_what_cannot_be_counted_with_is_left_out(sd3: Path, entry: list) -> None:
    path = sd3 / "model_index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "tokenizer_3": entry}))
    assert list(told(sd3, "StableDiffusion3Pipeline")) == ["CLIP (text_encoder)", "CLIP (text_encoder_2)"]
