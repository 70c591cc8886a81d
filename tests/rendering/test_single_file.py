"""Checkpoints of one file: the same pixels as the folder that they were made from, and what is refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file
from torch import zeros

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec, load_renderer
from tests.rendering.helpers import Models
from tests.rendering.tiny_single_file import single_file

REQUEST = ImageRequest("a", "a red circle", 1, Sampling("default", 5.0, 2, 32, 32))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "darkroom" / "single_files"


def configuration(model: Path, folder: Path) -> Path:
    """The model's small files alone."""
    shutil.copytree(model, folder, ignore=shutil.ignore_patterns("*.safetensors"))
    return folder


def pixels(ref: ModelRef) -> np.ndarray:
    [image] = load_renderer(RendererSpec(inspect_model(ref, "cpu"), "cpu", 2)).render([REQUEST])
    assert image.pixels is not None
    return image.pixels


@pytest.mark.slow
def test_it_makes_the_pixels_of_the_folder_that_it_came_from(models: Models, tmp_path: Path, cache: Path) -> None:
    file = single_file(models["sd"], tmp_path / "mine.safetensors")
    ref = ModelRef(str(configuration(models["sd"], tmp_path / "configuration")), single_file=str(file))
    model = inspect_model(ref, "cpu")
    assert model.identity.repo_id == "mine"
    assert np.array_equal(pixels(ref), pixels(ModelRef(str(models["sd"]))))
    [folder] = cache.glob("*/mine")
    made = (folder / "model_index.json").stat().st_mtime_ns
    assert inspect_model(ref, "cpu") == model
    assert (folder / "model_index.json").stat().st_mtime_ns == made  # converted once


@pytest.mark.slow
def test_a_link_is_called_by_its_own_name_and_damage_in_the_cache_is_mended(
    models: Models, tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "abcdef0123").write_bytes(single_file(models["sd"], tmp_path / "a.safetensors").read_bytes())
    (tmp_path / "linked.safetensors").symlink_to("abcdef0123")  # as the hub's cache has its files
    ref = ModelRef(str(models["sd"]), single_file=str(tmp_path / "linked.safetensors"))
    before, identity = pixels(ref), inspect_model(ref, "cpu").identity
    assert identity.repo_id == "linked"
    [weights] = cache.glob("*/linked/vae/*.safetensors")
    damaged = bytearray(weights.read_bytes())
    damaged[-64:] = bytes(64)
    weights.write_bytes(damaged)
    assert np.array_equal(pixels(ref), before)
    assert inspect_model(ref, "cpu").identity == identity


@pytest.mark.slow
def test_what_is_no_such_checkpoint_is_refused(models: Models, tmp_path: Path, cache: Path) -> None:
    folder = str(configuration(models["sd"], tmp_path / "configuration"))
    save_file({"weight": zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    (tmp_path / "text.safetensors").write_text("no weights")
    whole = single_file(models["sd"], tmp_path / "whole.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    for name, said in (
        ("cut.safetensors", "is cut off after"),
        (
            "other.safetensors",
            "is not read as a StableDiffusionPipeline .*; give a file with all weights of the model",
        ),
        ("model.ckpt", "is a pickle, which can run code"),
        ("text.safetensors", "cannot be read as safetensors"),
        ("none.safetensors", "no such file"),
    ):
        with pytest.raises(DarkroomError, match=f"model.single_file={tmp_path / name}.*{said}"):
            inspect_model(ModelRef(folder, single_file=str(tmp_path / name)), "cpu")
    assert list(cache.glob("*/*/model_index.json")) == []
    with pytest.raises(DarkroomError, match=r"model\.variant=fp16: model\.single_file has its weights in one file"):
        inspect_model(ModelRef(folder, single_file=str(tmp_path / "other.safetensors"), variant="fp16"), "cpu")
