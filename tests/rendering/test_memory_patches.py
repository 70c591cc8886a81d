"""Layers in float8 are near the exact ones, each row by itself; offloaded models make the same images."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import cpu_offload

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.memory_patches import Float8Linear, offload, scaled, to_float8
from darkroom.rendering.patches import AppliedPatches, denoiser
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RendererSpec
from tests.rendering.helpers import SAMPLING, Models, load, load_with_pipe, pixels, requests, spec_of, without
from tests.rendering.tiny_loras import tiny_lora

ON_CPU_ONLY = ("shared_work",)


def test_a_layer_is_as_near_as_three_bits_of_mantissa_allow() -> None:
    torch.manual_seed(0)
    linear = torch.nn.Linear(64, 32).bfloat16()
    values = torch.randn(2, 5, 64).bfloat16()
    with torch.inference_mode():
        exact = torch.nn.functional.linear(values.float(), linear.weight.float(), linear.bias.float())
        found = Float8Linear(linear)(values)
    assert found.shape == exact.shape
    assert found.dtype == torch.bfloat16
    error = (found.float() - exact).norm() / exact.norm()
    assert 0.005 < error < 0.06  # e4m3 rounds each factor by up to 1/16


def test_a_row_depends_on_no_other() -> None:
    torch.manual_seed(0)
    layer, values = Float8Linear(torch.nn.Linear(32, 16).bfloat16()), torch.randn(6, 32).bfloat16()
    values[3] *= 1000
    with torch.inference_mode():
        together = layer(values)
        assert torch.equal(together[:3], layer(values[:3]))


def test_a_row_of_zeros_stays_zero() -> None:
    values, scale = scaled(torch.zeros(2, 16).bfloat16())
    assert not values.float().any()
    assert torch.isfinite(scale).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_a_model_renders_another_but_similar_picture(models: Models, name: str) -> None:
    assert spec_of(models, name, dtype="float8").model.identity.dtype == "float8"
    renderer, pipe = load_with_pipe(models, name, dtype="float8")
    layers = [module for module in denoiser(pipe).modules() if isinstance(module, Float8Linear)]
    assert len(layers) >= 8
    assert renderer.info.dtype == "float8"
    found, exact = (np.stack(pixels(each, count=2)).astype(int) for each in (renderer, load(models, name)))
    assert 0 < np.abs(found - exact).mean() < 16


def test_a_device_without_float8_is_refused() -> None:
    with pytest.raises(DarkroomError, match="dtype=float8: mps here has no float8"):
        to_float8(torch.nn.Sequential(), torch.device("mps"))


@pytest.mark.parametrize("network", [torch.nn.Sequential(torch.nn.Linear(16, 16)), None])
def test_a_model_without_such_layers_is_refused(network: torch.nn.Module | None) -> None:
    with pytest.raises(DarkroomError, match=r"has no transformer_blocks.*use bfloat16"):
        to_float8(network, torch.device("cpu"))


def test_projections_of_adaptive_norms_stay_exact(models: Models) -> None:
    network = load_with_pipe(models, "sd3", dtype="float8")[1].transformer
    converted = [name for name, module in network.named_modules() if isinstance(module, Float8Linear)]
    assert converted
    assert not [name for name in converted if "norm" in name]


def offloaded(spec: RendererSpec, how: str | None) -> tuple[DiffusersRenderer, Any]:
    loaded = load_pipeline(spec, without(*ON_CPU_ONLY))
    pipe = loaded.pipe
    if how == "sequential":  # diffusers names the device cpu:0, which accelerate takes for another one than cpu
        pipe.enable_sequential_cpu_offload = lambda device: [
            cpu_offload(part, torch.device(device), offload_buffers=len(part._parameters) > 0)
            for part in pipe.components.values()
            if isinstance(part, torch.nn.Module)
        ]
    if how:
        context = offload(pipe, how, "cpu")
        loaded = replace(loaded, patches=AppliedPatches(loaded.patches.names, (*loaded.patches.contexts, context)))
    return DiffusersRenderer(loaded, spec), pipe


@pytest.mark.slow
@pytest.mark.parametrize("how", ["model", "group", "sequential"])
@pytest.mark.parametrize(
    ("name", "changes"), [("sd", {}), ("sd", {"cache_interval": 2, "guidance_stop": 0.5}), ("sd3", {})]
)
def test_images_stay_the_same_from_call_to_call(models: Models, name: str, changes: dict, how: str) -> None:
    spec, sampling = spec_of(models, name), replace(SAMPLING, **changes)
    wanted = np.stack(pixels(offloaded(spec, None)[0], sampling))
    renderer, pipe = offloaded(spec, how)
    for _ in range(2):
        assert np.array_equal(np.stack(pixels(renderer, sampling)), wanted)
    devices = {each.device.type for each in pipe.vae.parameters()}
    assert devices == {"meta" if how == "sequential" else "cpu"}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["model", "group", "sequential"])
def test_loras_are_switched_in_an_offloaded_model(models: Models, tmp_path: Path, how: str) -> None:
    file = tiny_lora(models["sd"], tmp_path)
    model = inspect_model(ModelRef(str(models["sd"]), loras=(LoraRef(str(file)),)), "cpu")
    spec = RendererSpec(model, "cpu", 4)
    active = ((model.parts[0].part.revision, 1.0),)

    def made(renderer: DiffusersRenderer, adapters: Any) -> np.ndarray:
        found = renderer.render([replace(each, adapters=adapters) for each in requests(2)])
        return np.stack([image.pixels for image in found if image.pixels is not None])

    plain, renderer = offloaded(spec, None)[0], offloaded(spec, how)[0]
    assert not np.array_equal(made(plain, ()), made(plain, active))
    for adapters in (active, (), active):
        assert np.array_equal(made(renderer, adapters), made(plain, adapters))


@pytest.mark.slow
def test_an_image_that_overflows_in_half_precision_is_decoded_again_in_float32(models: Models) -> None:
    spec = spec_of(models, "sd", dtype="float16")
    for how in (None, "model", "group", "sequential"):
        renderer, pipe = offloaded(spec, how)
        with torch.no_grad():
            pipe.vae.config.scaling_factor = 1e-6  # of which latents become too large for float16
        found = renderer.render(requests(2))
        assert pipe.vae.dtype == torch.float16
        assert all(image.pixels is not None for image in found), (how, found)


def test_a_spec_is_offloaded_on_a_gpu_alone(models: Models) -> None:
    model = inspect_model(ModelRef(str(models["sd"]), offload="model"), "cuda")
    assert RendererSpec(model, "cuda", 4).is_offloaded
    assert not RendererSpec(model, "cpu", 4).is_offloaded
    assert model.identity == inspect_model(ModelRef(str(models["sd"])), "cuda").identity
