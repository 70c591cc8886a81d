"""A checkpoint of one file alone: what comes with Darkroom for its kind configures it, with no hub and no folder."""

import json
import shutil
from pathlib import Path

import diffusers
import pandas as pd
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from darkroom.domain.errors import DarkroomError
from darkroom.rendering import model_places
from darkroom.rendering.model_places import configuration_folder
from tests.jobs.helpers import run_here
from tests.rendering.tiny_single_file import single_file

SMALL = {
    "unet/config.json": {
        "block_out_channels": [8, 16, 16, 16],
        "cross_attention_dim": 32,
        "attention_head_dim": 2,
        "norm_num_groups": 4,
        "sample_size": 8,
    },
    "vae/config.json": {"block_out_channels": [8, 16, 16, 16], "norm_num_groups": 4},
    "text_encoder/config.json": {
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "projection_dim": 32,
    },
}


@pytest.fixture
def small_sd15(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model with random weights of SD 1.5's configuration in few numbers, which is shipped in its place."""
    shipped = Path(shutil.copytree(model_places._FOLDER, tmp_path / "shipped"))
    found = json.loads((shipped / "sd15.json").read_text())
    (shipped / "sd15.json").write_text(
        json.dumps({name: {**value, **SMALL.get(name, {})} for name, value in found.items()})
    )
    monkeypatch.setattr(model_places, "_FOLDER", shipped)
    torch.manual_seed(0)
    folder = configuration_folder("darkroom/sd15")
    text = transformers.CLIPTextConfig.from_pretrained(folder / "text_encoder")
    diffusers.StableDiffusionPipeline(
        vae=diffusers.AutoencoderKL.from_config(diffusers.AutoencoderKL.load_config(folder / "vae")),
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer.from_pretrained(folder / "tokenizer"),
        unet=diffusers.UNet2DConditionModel.from_config(diffusers.UNet2DConditionModel.load_config(folder / "unet")),
        scheduler=diffusers.PNDMScheduler.from_pretrained(folder / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(tmp_path / "model")
    return tmp_path / "model"


@pytest.mark.slow
def test_it_renders_without_a_configuration_and_is_verified(small_sd15: Path, tmp_path: Path) -> None:
    file = single_file(small_sd15, tmp_path / "mine.safetensors")
    (tmp_path / "prompts.txt").write_text("a photo of a cat\nthe sea at night, oil on canvas\n")
    given = (
        "prompts=file",
        f"prompts.uri={tmp_path / 'prompts.txt'}",
        "engine=local",
        "sampling.num_inference_steps=2",
    )
    given = (*given, "sampling.height=32", "sampling.width=32", "sampling.guidance_scale=5")
    assert run_here("generate", *given, f"model.single_file={file}", f"output.uri={tmp_path / 'run'}") == 0
    found = pd.read_parquet(tmp_path / "run" / "metadata")
    assert set(found.model) == {"mine"}
    assert (
        run_here("generate", *given, "model=diffusers", f"model.repo_id={small_sd15}", f"output.uri={tmp_path / 'b'}")
        == 0
    )
    assert list(found.pixels_sha256) == list(pd.read_parquet(tmp_path / "b" / "metadata").pixels_sha256)
    assert run_here("verify", f"run={tmp_path / 'run'}") == 0
    file.rename(tmp_path / "moved.safetensors")
    assert run_here("verify", f"run={tmp_path / 'run'}", f"model.single_file={tmp_path / 'moved.safetensors'}") == 0


@pytest.mark.slow
def test_one_without_a_vae_is_decoded_by_another(small_sd15: Path, tmp_path: Path) -> None:
    whole = load_file(single_file(small_sd15, tmp_path / "whole.safetensors"))
    file = tmp_path / "mine.safetensors"
    save_file({name: value for name, value in whole.items() if not name.startswith("first_stage_model.")}, file)
    (tmp_path / "prompts.txt").write_text("a photo of a cat\n")
    given = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.txt'}", "engine=local", "sampling.guidance_scale=5")
    given = (*given, "sampling.height=32", "sampling.width=32", "sampling.num_inference_steps=2")
    with pytest.raises(
        DarkroomError, match=rf"^model\.single_file={file} has no VAE, as many have none; give model\.vae"
    ):
        run_here("plan", *given, f"model.single_file={file}")
    words = (f"model.single_file={file}", f"model.vae={small_sd15}", f"output.uri={tmp_path / 'run'}")
    assert run_here("generate", *given, *words) == 0
    words = ("model=diffusers", f"model.repo_id={small_sd15}", f"output.uri={tmp_path / 'other'}")
    assert run_here("generate", *given, *words) == 0
    found = [pd.read_parquet(tmp_path / run / "metadata").pixels_sha256.tolist() for run in ("run", "other")]
    assert found[0] == found[1]
    assert run_here("verify", f"run={tmp_path / 'run'}") == 0


@pytest.mark.slow
def test_a_configuration_has_no_weights() -> None:
    with pytest.raises(
        DarkroomError, match=r"darkroom/sdxl is a configuration without weights; give these as model\.s"
    ):
        run_here("plan", "model=diffusers", "model.repo_id=darkroom/sdxl", "prompts=demo")
    given = ("model.repo_id=darkroom/sdxl", "model.single_file=mine.safetensors", "model.revision=main")
    with pytest.raises(DarkroomError, match=r"model\.revision=main: darkroom/sdxl is no model of a hub"):
        run_here("plan", "model=diffusers", *given, "prompts=demo")
