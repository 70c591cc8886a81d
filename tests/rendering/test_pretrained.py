"""What is loaded is what was digested, stays so, and depends on no other model's code and no optional package."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PixArtSigmaPipeline
from diffusers.pipelines.pixart_alpha import pipeline_pixart_sigma
from transformers import CLIPModel

from darkroom.demo import CLIP_FOLDER
from darkroom.domain.errors import WrongModel
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import load_extractor
from darkroom.rendering.diffusion import load_diffusers
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.pretrained import disable_text_cleaning, load_pipeline
from darkroom.rendering.renderer import Renderer, RendererSpec

UNET = "unet/diffusion_pytorch_model.safetensors"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def copy(models: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(models["sd"], tmp_path / "copy"))


def spec_of(folder: Path | str, **changes: object) -> RendererSpec:
    return RendererSpec(inspect_model(ModelRef(str(folder), dtype="float32"), "cpu"), "cpu", 1, **changes)


def pixels(renderer: Renderer) -> np.ndarray:
    [image] = renderer.render([ImageRequest("id", "a cat", 1, Sampling("default", 5.0, 1, 16, 16))])
    assert image.pixels is not None
    return image.pixels


@pytest.mark.slow
def test_weights_that_are_overwritten_after_loading_change_no_picture(copy: Path) -> None:
    """In place, as `cp` does: what is mapped from the file would change."""
    first, second = (load_diffusers(spec_of(copy)) for _ in range(2))
    before = pixels(first)
    for path in copy.rglob("*.safetensors"):
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(b"\x3f" * size)
    np.testing.assert_array_equal(before, pixels(second))


@pytest.mark.slow
def test_an_extractors_weights_stay_too(tmp_path: Path) -> None:
    """Saved in float32, as they are used: nothing need be converted, and so copied."""
    folder = tmp_path / "clip"
    CLIPModel.from_pretrained(CLIP_FOLDER, dtype=torch.float32).save_pretrained(folder)
    for name in ("preprocessor_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(CLIP_FOLDER / name, folder)
    clip = load_extractor(ExtractorSpec("clip", str(folder)))
    picture = np.full((64, 64, 3), 99, np.uint8)
    before = clip.features([picture])
    weights = folder / "model.safetensors"
    with weights.open("r+b") as file:
        file.write(b"\x3f" * weights.stat().st_size)
    np.testing.assert_array_equal(before, clip.features([picture]))


@pytest.mark.parametrize(
    "file", [UNET, "model_index.json", "tokenizer/tokenizer.json", "scheduler/scheduler_config.json"]
)
def test_a_worker_refuses_files_that_the_job_has_not_seen(copy: Path, file: str) -> None:
    spec = spec_of(copy)
    (copy / file).write_bytes((copy / file).read_bytes() + b"\n")
    with pytest.raises(WrongModel, match=rf"^model\.repo_id=copy: on \S+, {file} in {copy} is sha256"):
        load_pipeline(spec)


@pytest.fixture
def hub(models: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache as the hub's client lays it out, read offline: large files by SHA-256, small ones by git's SHA-1."""
    repo = tmp_path / "models--someone--tiny"
    snapshot, blobs = repo / "snapshots" / COMMIT, repo / "blobs"
    shutil.copytree(models["sd"], snapshot)
    blobs.mkdir()
    for path in [path for path in snapshot.rglob("*") if path.is_file()]:
        data = path.read_bytes()
        large = path.suffix == ".safetensors"
        name = hashlib.sha256(data) if large else hashlib.sha1(b"blob %d\0" % len(data) + data)
        path.rename(blobs / name.hexdigest())
        path.symlink_to(blobs / name.hexdigest())
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("diffusers.pipelines.pipeline_utils.is_offline_mode", lambda: True, raising=False)
    return snapshot


@pytest.mark.slow
def test_a_hub_model_is_loaded_from_the_cache(hub: Path, models: dict[str, Path]) -> None:
    spec = spec_of("someone/tiny")
    assert (spec.model.identity.revision, spec.model.digests) == (COMMIT, ())
    np.testing.assert_array_equal(pixels(load_diffusers(spec)), pixels(load_diffusers(spec_of(models["sd"]))))


@pytest.mark.parametrize("file", [UNET, "scheduler/scheduler_config.json"])
def test_a_spoiled_blob_of_the_hubs_cache_is_refused(hub: Path, file: str) -> None:
    spec = spec_of("someone/tiny")
    blob = (hub / file).resolve()
    data = bytearray(blob.read_bytes())
    data[-3] ^= 1
    blob.write_bytes(data)
    with pytest.raises(WrongModel, match=rf"^model\.repo_id=someone/tiny: on \S+, {file} in {hub} is \S+:\w+ and not"):
        load_pipeline(spec)


def test_no_optional_package_decides_what_a_prompt_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in an environment that has them; neither is called."""
    for name in ("is_bs4_available", "is_ftfy_available"):
        monkeypatch.setattr(pipeline_pixart_sigma, name, lambda: True)
    pipe = PixArtSigmaPipeline.__new__(PixArtSigmaPipeline)
    monkeypatch.setattr(PixArtSigmaPipeline, "_clean_caption", lambda self, text: "cleaned")
    assert pipe._text_preprocessing("a Cat", clean_caption=True) == ["cleaned"]
    disable_text_cleaning(pipe)
    assert pipe._text_preprocessing("a Cat", clean_caption=True) == ["a cat"]
