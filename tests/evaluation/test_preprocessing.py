"""Four ways of resizing, held to hand-made figures and to the packages that they are named after."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers.models.bit.image_processing_pil_bit import BitImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.preprocessing import RESIZES, Preprocessing, read_preprocessing, resize

REFERENCE = Path(__file__).parents[2].parent / "shared" / "data" / "metrics" / "resize_astronaut_299_reference.npz"
RAMP = [0, 10, 20, 30]


def picture(row: list[int]) -> np.ndarray:
    """Four equal rows, three equal channels."""
    return np.array([[[value] * 3 for value in row]] * 4, np.uint8)


@pytest.mark.parametrize(
    ("mode", "width", "expected"),
    [
        ("tf1", 8, [0, 5, 10, 15, 20, 25, 30, 30]),  # reads at 0, 0.5, ..., 3.5
        ("tf1", 3, [0, 40 / 3, 80 / 3]),
        ("tf1", 2, [0, 20]),
        ("torch", 8, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),  # reads at -0.25, 0.25, ...
        ("torch", 2, [5, 25]),
        ("torch-aa", 8, [0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]),
        ("torch-aa", 2, [12.5 / 1.75, 30 - 12.5 / 1.75]),  # weights 0.75, 0.75, 0.25
        ("clean", 2, [11.09375 / 1.890625, 30 - 11.09375 / 1.890625]),  # cubic of a = -0.5 at 0.25, 0.25, 0.75, 1.25
    ],
)
def test_a_ramp_becomes_what_the_formula_says(mode: str, width: int, expected: list[float]) -> None:
    resized = resize(picture(RAMP), (5, width), mode)
    assert (resized.shape, resized.dtype) == ((3, 5, width), np.float32)
    np.testing.assert_allclose(resized, np.broadcast_to(np.float32(expected), (3, 5, width)), atol=2e-5)


@pytest.mark.parametrize("mode", RESIZES)
def test_rows_are_treated_as_columns_are_and_channels_apart(mode: str) -> None:
    wide = np.random.RandomState(0).randint(0, 256, (9, 13, 3)).astype(np.uint8)
    resized = resize(wide, (6, 4), mode)
    np.testing.assert_allclose(resize(wide.transpose(1, 0, 2), (4, 6), mode).transpose(0, 2, 1), resized, atol=1e-4)
    np.testing.assert_allclose(resize(wide[:, :, ::-1], (6, 4), mode), resized[::-1], atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(
    mode=st.sampled_from(sorted(RESIZES)),
    shape=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    seed=st.integers(0, 99),
)
def test_any_size_to_any_size_stays_in_range_and_keeps_its_own(
    mode: str, shape: tuple[int, int], size: tuple[int, int], seed: int
) -> None:
    source = np.random.RandomState(seed).randint(0, 256, (*shape, 3)).astype(np.uint8)
    resized = resize(source, size, mode)
    assert resized.shape == (3, *size)
    assert 0 <= resized.min() <= resized.max() <= 255 + 1e-3
    np.testing.assert_allclose(resize(source, shape, mode), source.transpose(2, 0, 1), atol=1e-3)
    flat = np.full_like(source, source[0, 0])
    np.testing.assert_allclose(
        resize(flat, size, mode), np.broadcast_to(source[0, 0][:, None, None], (3, *size)), atol=1e-3
    )


@pytest.mark.parametrize(
    ("name", "mode"),
    [("tf1", "tf1"), ("torch_bilinear", "torch"), ("torch_bilinear_aa", "torch-aa"), ("cleanfid", "clean")],
)
def test_the_astronaut_equals_the_packages(name: str, mode: str) -> None:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image's astronaut")
    if not REFERENCE.is_file():
        pytest.skip("needs the reference pixels of shared/data/metrics")
    resized = resize(data.astronaut(), (299, 299), mode)[:, ::13, ::13]
    np.testing.assert_allclose(resized, np.load(REFERENCE)[name], atol=1e-4)


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
    found = read(tmp_path, config)(picture)
    assert found.dtype == np.float32
    for processor in (CLIPImageProcessorPil, BitImageProcessorPil):
        own = processor(**config)(images=[picture], return_tensors="np", input_data_format="channels_last")
        np.testing.assert_allclose(found, own["pixel_values"][0], atol=2e-6)


def test_a_mode_goes_straight_to_the_networks_size(tmp_path: Path) -> None:
    picture = np.random.RandomState(0).randint(0, 256, (50, 70, 3)).astype(np.uint8)
    found = read(tmp_path, SHORTEST, ExtractorSpec("clip", "somewhere", resize="tf1"))
    pixels = resize(picture, (32, 32), "tf1") / 255
    expected = [(pixels[c] - OPENAI["image_mean"][c]) / OPENAI["image_std"][c] for c in range(3)]
    np.testing.assert_allclose(found(picture), expected, atol=2e-6)


def test_descriptions_tell_settings_apart(tmp_path: Path) -> None:
    tf1 = ExtractorSpec("clip", "somewhere", resize="tf1")
    others = [SHORTEST | {"resample": 2}, SHORTEST | {"image_mean": [0.5] * 3}, SHORTEST | {"crop_size": 33}]
    words = [read(tmp_path, config).description for config in (SHORTEST, *others)] + [
        read(tmp_path, SHORTEST, tf1).description
    ]
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
