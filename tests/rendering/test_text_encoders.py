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


def test_each_encoder_has_a_limit_of_its_own(models: dict[str, Path]) -> None:
    found = told(models["sd3"], "StableDiffusion3Pipeline")
    assert list(found) == ["CLIP (text_encoder)", "CLIP (text_encoder_2)", "T5 (text_encoder_3)"]
    assert found["T5 (text_encoder_3)"][0] == 256
    assert found["CLIP (text_encoder)"][0] < 256


def test_the_embedded_model_has_one() -> None:
    assert list(told(MODEL_FOLDER, "StableDiffusionPipeline")) == ["CLIP (text_encoder)"]


@pytest.mark.parametrize("entry", [["mine", "Mine"], [None, None]])
def test_what_cannot_be_counted_with_is_left_out(models: dict[str, Path], tmp_path: Path, entry: list) -> None:
    index = json.loads((models["sd3"] / "model_index.json").read_text())
    (tmp_path / "model_index.json").write_text(json.dumps({**index, "tokenizer_3": entry}))
    for name in ("tokenizer", "tokenizer_2", "tokenizer_3", "text_encoder", "text_encoder_2"):
        (tmp_path / name).symlink_to(models["sd3"] / name)
    assert list(told(tmp_path, "StableDiffusion3Pipeline")) == ["CLIP (text_encoder)", "CLIP (text_encoder_2)"]
