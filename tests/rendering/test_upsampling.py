"""A doubling and its convolution in one: the same pictures with fewer products, and nothing else touched."""

import copy
from pathlib import Path

import pytest
import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from darkroom.rendering.packed import has_onednn
from darkroom.rendering.upsampling import SubPixelUpsample, upsample_by_subpixels
from tests.rendering.test_renderers import load


@pytest.mark.parametrize("size", [(3, 4), (1, 1), (8, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_pictures_are_equal_up_to_the_order_of_sums(size: tuple[int, int], bias: bool, layout) -> None:
    torch.manual_seed(0)
    layer = Upsample2D(5, use_conv=True, out_channels=7, bias=bias)
    small = torch.randn(2, 5, *size).contiguous(memory_format=layout)
    with torch.inference_mode():
        wanted = copy.deepcopy(layer).double()(small.double())
        upsample_by_subpixels(layer)
        assert type(layer) is SubPixelUpsample
        doubled = (2 * size[0], 2 * size[1])
        for found in (layer(small), layer(small, doubled), layer(small, torch.Size(doubled))):
            assert (found - wanted).abs().max() < 1e-6


def test_another_size_is_made_as_ever() -> None:
    layer, small = Upsample2D(4, use_conv=True), torch.randn(1, 4, 3, 3)
    wanted = layer(small, (7, 5))
    upsample_by_subpixels(layer)
    assert torch.equal(layer(small, (7, 5)), wanted)


def test_it_is_four_ninths_of_the_products() -> None:
    layer, small = Upsample2D(8, use_conv=True), torch.randn(1, 8, 63, 63)

    def flop() -> int:
        with FlopCounterMode(display=False) as counter:
            layer(small)
        return counter.get_total_flops()

    before = flop()
    upsample_by_subpixels(layer)
    assert flop() / before == pytest.approx(4 / 9 * (64 / 63) ** 2)


@pytest.mark.parametrize(
    "layer",
    [
        Upsample2D(4),
        Upsample2D(4, use_conv_transpose=True),
        Upsample2D(4, use_conv=True, interpolate=False),
        Upsample2D(4, use_conv=True, norm_type="rms_norm", eps=1e-6, elementwise_affine=True),
        Upsample2D(4, use_conv=True, kernel_size=1, padding=0),
        Upsample2D(4, use_conv=True, name="op"),
    ],
)
def test_other_doublings_stay_as_they_are(layer: Upsample2D) -> None:
    upsample_by_subpixels(nn.Sequential(layer))
    assert type(layer) is Upsample2D


def test_half_precision_stays_as_it_is() -> None:
    """Sums of weights would be rounded once more."""
    layer = Upsample2D(4, use_conv=True).bfloat16()
    upsample_by_subpixels(layer)
    assert type(layer) is Upsample2D


@pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN for x86")
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_renderers_doublings_are_such(models: dict[str, Path], name: str) -> None:
    doublings = [layer for layer in load(models, name)._pipe.unet.modules() if isinstance(layer, Upsample2D)]
    assert doublings
    assert all(isinstance(layer, SubPixelUpsample) for layer in doublings)
