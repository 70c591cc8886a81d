"""Our preprocessing against transformers' own, and what is not understood."""

import json
from pathlib import Path

import numpy as np
import pytest
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from darkroom.domain.errors import DarkroomError
from darkroom.features.preprocessing import Preprocessing, read_preprocessing
from darkroom.features.resize import resize
from darkroom.features.spec import ExtractorSpec

SPEC = ExtractorSpec("clip", "somewhere")
OPENAI = {"image_mean": [0.48145466, 0.4578275, 0.40821073], "image_std": [0.26862954, 0.26130258, 0.27577711]}
SHORTEST = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}, **OPENAI}


def read(folder: Path, config: dict, spec: ExtractorSpec = SPEC) -> Preprocessing:
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return read_preprocessing(folder, spec)


@pytest.mark.parametrize("shape", [(64, 64), (31, 57), (200, 97), (32, 32), (47, 33), (8, 9)])
@pytest.mark.parametrize(
    "config",
    [
        SHORTEST,
        SHORTEST | {"resample": 2, "rescale_factor": 0.00392156862745098},
        SHORTEST | {"size": 36, "crop_size": 32},  # as OpenAI's first files have it
        SHORTEST | {"size": {"height": 40, "width": 36}, "crop_size": {"height": 31, "width": 33}},
        SHORTEST | {"size": {"height": 32, "width": 32}, "do_center_crop": False},
    ],
)
def test_pixels_equal_the_processors(tmp_path: Path, config: dict, shape: tuple[int, int]) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (*shape, 3)).astype(np.uint8)
    ours = read(tmp_path, config)(picture)
    assert ours.dtype == np.float32
    for processor in (CLIPImageProcessorPil, BitImageProcessorPil):
        own = processor(**config)(images=[picture], return_tensors="np", input_data_format="channels_last")
        np.testing.assert_allclose(ours, own["pixel_values"][0], atol=2e-6)


def test_a_mode_goes_straight_to_the_networks_size(tmp_path: Path) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (50, 70, 3)).astype(np.uint8)
    ours = read(tmp_path, SHORTEST, ExtractorSpec("clip", "somewhere", resize="tf1"))
    pixels = resize(picture, (32, 32), "tf1") / 255
    expected = [(pixels[c] - OPENAI["image_mean"][c]) / OPENAI["image_std"][c] for c in range(3)]
    np.testing.assert_allclose(ours(picture), expected, atol=2e-6)


def test_words_tell_settings_apart(tmp_path: Path) -> None:
    tf1 = ExtractorSpec("clip", "somewhere", resize="tf1")
    others = [SHORTEST | {"resample": 2}, SHORTEST | {"image_mean": [0.5] * 3}, SHORTEST | {"crop_size": 33}]
    words = [read(tmp_path, config).words for config in (SHORTEST, *others)] + [read(tmp_path, SHORTEST, tf1).words]
    assert words[0].startswith("bicubic shortest edge 36, crop 32x32, mean 0.481455,")
    assert words[-1].startswith("tf1 32x32, mean")
    assert len(set(words)) == len(words)


def test_newer_files_are_found(tmp_path: Path) -> None:
    (tmp_path / "processor_config.json").write_text(json.dumps({"image_processor": SHORTEST}))
    assert read_preprocessing(tmp_path, SPEC).crop == (32, 32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"do_normalize": False}, "do_normalize=false"),
        ({"rescale_factor": 1 / 127.5}, "rescale_factor"),
        ({"crop_size": 40}, r"crop_size=\(40, 40\) is more than size=36"),
        ({"do_center_crop": False}, "many sizes"),
        ({"image_mean": [0.5]}, "ValueError"),
        ({"size": {"longest_edge": 36}}, "height"),
    ],
)
def test_what_is_not_understood_is_refused(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(DarkroomError, match=words) as caught:
        read(tmp_path, SHORTEST | change)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_an_unknown_mode_are_named(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"no preprocessor_config\.json"):
        read_preprocessing(tmp_path, SPEC)
    with pytest.raises(DarkroomError, match="resize=nearest is not known; use tf1"):
        read(tmp_path, SHORTEST, ExtractorSpec("clip", "somewhere", resize="nearest"))
