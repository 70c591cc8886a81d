"""The large models' benchmark, on small ones of the same kinds and on a CPU; and the work in the real ones."""

from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.bench.gpu import gpu_sdxl, random_work, rendered
from darkroom.bench.machine import SD15, SDXL, Architecture, image_flop, unet_flop, vae_flop
from tests.bench.painting import setting

_VAE = {"block_out_channels": (8, 8, 8, 8), "norm_num_groups": 4, "layers_per_block": 1}
_TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}


def small(architecture: Architecture) -> Architecture:
    levels = len(architecture.unet["block_out_channels"])
    unet = {"sample_size": 8, "block_out_channels": (8,) * levels, "attention_head_dim": 2, "norm_num_groups": 4}
    width = 16 * len(architecture.text_encoders)
    if architecture.is_xl:
        unet |= {"transformer_layers_per_block": 1, "projection_class_embeddings_input_dim": 6 * 256 + 16}
    return replace(
        architecture,
        side=64,
        unet={**architecture.unet, **unet, "cross_attention_dim": width},
        vae={**architecture.vae, **_VAE, "sample_size": 64},
        text_encoders=(_TEXT,) * len(architecture.text_encoders),
    )


@pytest.mark.slow
@pytest.mark.parametrize("architecture", [SD15, SDXL], ids=["sd15", "sdxl"])
def test_random_weights_render_from_prompt_file_to_png(tmp_path: Path, architecture: Architecture) -> None:
    work = random_work(setting(tmp_path), small(architecture), "float32")
    timing = rendered(replace(work, batch_size=2, shard_size=2), tmp_path / "run")
    assert timing.rate > 0
    assert len(list((tmp_path / "run" / "images").rglob("*.png"))) == work.num_images


@pytest.mark.slow
def test_the_work_in_an_image_is_that_of_its_steps_and_its_decoding() -> None:
    little = small(SD15)
    assert image_flop(little, 20) == 40 * unet_flop(little) + vae_flop(little)


@pytest.mark.slow
def test_the_work_in_sdxl_is_the_published_one() -> None:
    assert unet_flop(SDXL) == pytest.approx(6.761e12, rel=1e-3)
    assert vae_flop(SDXL) == pytest.approx(10.47e12, rel=1e-3)


def test_without_a_gpu_the_figure_is_skipped_and_says_why(tmp_path: Path) -> None:
    (figure,) = gpu_sdxl(setting(tmp_path))
    assert figure.value is None
    assert figure.skipped == "needs a CUDA device, and this one is cpu"
