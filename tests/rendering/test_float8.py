"""The denoiser's linear layers in float8: near the exact ones, and each row by itself."""

import numpy as np
import pytest
import torch

from darkroom.domain.errors import DarkroomError
from darkroom.rendering.float8 import Float8Linear, scaled, to_float8
from darkroom.rendering.patches import denoiser
from tests.rendering.helpers import Models, load, load_with_pipe, pixels, spec_of


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
