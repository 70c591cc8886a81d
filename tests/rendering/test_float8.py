"""The denoiser's linear layers in float8: near the exact ones, and each row by itself."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.float8 import Float8Linear, scaled, to_float8
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.loading import load_renderer
from darkroom.rendering.spec import RendererSpec
from tests.rendering.test_renderers import load, requests


def load_float8(models: dict[str, Path], name: str):
    model = inspect_model(ModelRef(str(models[name]), dtype="float8"), "cpu")
    assert model.identity.dtype == "float8"
    return load_renderer(RendererSpec(model, "cpu", 4))


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


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_a_model_renders_another_but_similar_picture(models: dict[str, Path], name: str) -> None:
    renderer = load_float8(models, name)
    denoiser = getattr(renderer._pipe, "unet", None) or renderer._pipe.transformer
    layers = [module for module in denoiser.modules() if isinstance(module, Float8Linear)]
    assert len(layers) >= 8
    assert renderer.info.dtype == "float8"
    ours = np.stack([image.pixels for image in renderer.render(requests(2))]).astype(int)
    exact = np.stack([image.pixels for image in load(models, name).render(requests(2))]).astype(int)
    assert 0 < np.abs(ours - exact).mean() < 16


def test_a_device_without_float8_is_refused() -> None:
    with pytest.raises(DarkroomError, match="dtype=float8: mps here has no float8"):
        to_float8(SimpleNamespace(device=torch.device("mps")))


def test_a_model_without_such_layers_is_refused() -> None:
    pipe = SimpleNamespace(device=torch.device("cpu"), unet=torch.nn.Sequential(torch.nn.Linear(16, 16)))
    with pytest.raises(DarkroomError, match="has no transformer_blocks"):
        to_float8(pipe)


def test_what_makes_norms_adapt_stays_exact(models: dict[str, Path]) -> None:
    converted = [
        name
        for name, module in load_float8(models, "sd3")._pipe.transformer.named_modules()
        if isinstance(module, Float8Linear)
    ]
    assert converted
    assert not [name for name in converted if "norm" in name]
