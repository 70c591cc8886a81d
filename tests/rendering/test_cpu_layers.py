"""Layers rewritten for oneDNN: the same numbers up to the order of sums, and nothing else touched."""

import copy
from itertools import pairwise

import pytest
import torch
from diffusers.models.activations import GEGLU
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from darkroom.rendering.cpu_layers import (
    ChannelsLastGroupNorm,
    PackedConv2d,
    PackedGEGLU,
    PackedLinear,
    SubPixelUpsample,
    has_onednn,
    norm_channels_last,
    pack_layers,
    upsample_by_subpixels,
)
from darkroom.rendering.patches import denoiser
from tests.rendering.helpers import Models, largest_difference, load_with_pipe, pixels, without

needs_onednn = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN for x86")

# Upsampling ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(3, 4), (1, 1), (8, 5)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_doubled_pictures_are_equal_up_to_the_order_of_sums(size: tuple[int, int], bias: bool, layout) -> None:
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


def test_doubling_is_four_ninths_of_the_products() -> None:
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


def test_doubling_in_half_precision_stays_as_it_is() -> None:
    """Sums of weights would be rounded once more."""
    layer = Upsample2D(4, use_conv=True).bfloat16()
    upsample_by_subpixels(layer)
    assert type(layer) is Upsample2D


# Packed weights -------------------------------------------------------------------------------------------------------


@needs_onednn
@pytest.mark.parametrize("shape", [(5, 24), (2, 7, 24), (3, 1, 24), (1, 24), (2, 3, 4, 24)])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_equal_up_to_the_order_of_sums(shape: tuple[int, ...], bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = nn.Linear(24, 40, bias), torch.randn(shape)
    exact = nn.functional.linear(values.double(), layer.weight.double(), layer.bias.double() if bias else None)
    pack_layers(nn.Sequential(layer))
    assert type(layer) is PackedLinear
    with torch.inference_mode():
        found = layer(values)
    assert found.shape == exact.shape
    assert (found - exact).abs().max() < 1e-5


@needs_onednn
@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(112, 896), (16, 64, 112)),
        (GEGLU(112, 448), (5, 64, 112)),
        (nn.Conv2d(48, 48, 3, padding=1), (16, 48, 16, 16)),
        (nn.Conv2d(7, 20, 3, stride=2), (5, 7, 9, 9)),
    ],
)
def test_rows_of_packed_layers_do_not_depend_on_one_another(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    pack_layers(whole := nn.Sequential(layer))
    values = torch.randn(shape)
    with torch.inference_mode():
        assert torch.equal(whole(values), whole(values.flip(0)).flip(0))


@needs_onednn
def test_packing_leaves_other_dtypes_and_layers_as_they_are() -> None:
    half, table, narrow = nn.Linear(8, 8).bfloat16(), nn.Embedding(4, 8), nn.Conv2d(8, 8, 3).bfloat16()
    pack_layers(nn.ModuleList([half, table, narrow]))
    assert (type(half), type(table), type(narrow)) == (nn.Linear, nn.Embedding, nn.Conv2d)


@needs_onednn
def test_names_and_weights_stay() -> None:
    layer = nn.Linear(8, 4)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    pack_layers(layer)
    assert (layer.in_features, layer.weight.dtype, layer.weight.shape) == (8, torch.float32, (4, 8))
    assert layer.state_dict().keys() == before.keys()
    assert all(torch.equal(value.to_dense(), before[name]) for name, value in layer.state_dict().items())


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("options", [{}, {"stride": 2}, {"groups": 4}, {"dilation": 2, "padding": 0}])
def test_convolutions_of_pictures_of_any_size(bias: bool, options: dict) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 12, 3, bias=bias, **{"padding": 1, **options})
    exact = copy.deepcopy(layer).double()
    pack_layers(layer)
    assert type(layer) is PackedConv2d
    with torch.inference_mode():
        for shape in ((4, 8, 16, 16), (2, 8, 16, 16), (2, 8, 9, 5), (4, 8, 16, 16)):
            pictures = torch.randn(shape)
            assert (layer(pictures) - exact(pictures.double())).abs().max() < 1e-5


@needs_onednn
def test_a_convolution_is_packed_anew_where_the_shape_changes_alone() -> None:
    layer, shapes = nn.Conv2d(4, 4, 3), [(2, 4, 8, 8), (2, 4, 8, 8), (1, 4, 8, 8), (2, 4, 8, 8)]
    pack_layers(layer)
    weights = []
    with torch.inference_mode():
        for shape in shapes:
            layer(torch.randn(shape))
            assert layer.weight.is_mkldnn
            assert layer.packed_for == shape
            weights.append(layer.weight)
    assert [one is other for one, other in pairwise(weights)] == [True, False, False]


@needs_onednn
@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding_mode": "circular", "padding": 1}])
def test_convolutions_of_other_kinds_stay_as_they_are(options: dict) -> None:
    layer = nn.Conv2d(4, 4, 3, **options)
    pack_layers(layer)
    assert type(layer) is nn.Conv2d


@needs_onednn
@pytest.mark.parametrize("bias", [True, False])
def test_a_gated_layer_stays_what_it_was(bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = GEGLU(24, 40, bias=bias), torch.randn(3, 5, 24)
    with torch.inference_mode():
        exact = layer.double()(values.double())
        pack_layers(layer.float())
        assert type(layer) is PackedGEGLU
        assert (layer(values) - exact).abs().max() < 1e-5


# Group norms ---------------------------------------------------------------------------------------------------------


def norm(groups: int, channels: int) -> nn.GroupNorm:
    torch.manual_seed(0)
    layer = nn.GroupNorm(groups, channels)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


@pytest.mark.slow
@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize(("groups", "channels", "side"), [(16, 48, 16), (4, 4, 3), (8, 32, 256), (1, 6, 1)])
def test_norms_are_as_exact_as_of_other_layouts(groups: int, channels: int, side: int, mean: float) -> None:
    layer = norm(groups, channels)
    pictures = torch.randn(2, channels, side, side) + mean
    exact = nn.functional.group_norm(
        pictures.double(), groups, layer.weight.double(), layer.bias.double(), layer.eps
    ).detach()
    with torch.inference_mode():
        others = (layer(pictures) - exact).abs().max()
        norm_channels_last(layer)
        found = layer(pictures.contiguous(memory_format=torch.channels_last))
    assert type(layer) is ChannelsLastGroupNorm
    assert found.is_contiguous(memory_format=torch.channels_last)
    assert (found - exact).abs().max() < 4 * others + 2e-6


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [3, 5])
def test_rows_of_norms_do_not_depend_on_one_another(threads: int, count: int) -> None:
    layer = norm(8, 32)
    norm_channels_last(layer)
    torch.set_num_threads(threads)
    picture = torch.randn(1, 32, 48, 48).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        rows = layer(picture.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last))
    assert all(torch.equal(row, rows[0]) for row in rows)


def test_other_inputs_and_norms_are_as_ever() -> None:
    layer, half, bare = norm(2, 4), norm(2, 4).bfloat16(), nn.GroupNorm(2, 4, affine=False)
    tokens, pictures = torch.randn(3, 4, 7), torch.randn(3, 4, 5, 6)
    wanted = layer(tokens), layer(pictures)
    norm_channels_last(nn.ModuleList([layer, half, bare]))
    assert (type(half), type(bare)) == (nn.GroupNorm, nn.GroupNorm)
    assert torch.equal(layer(tokens), wanted[0])
    assert torch.equal(layer(pictures), wanted[1])


# All of them in a model -------------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_onednn
@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_a_models_layers_are_rewritten_and_its_pixels_the_same(models: Models, name: str) -> None:
    renderer, pipe = load_with_pipe(models, name)
    layers = list(denoiser(pipe).modules())
    assert [layer for layer in layers if isinstance(layer, PackedLinear)]
    assert not [layer for layer in layers if type(layer) in (nn.Linear, nn.Conv2d, GEGLU, nn.GroupNorm, Upsample2D)]
    names = ("subpixel_upsampling", "packed_layers", "channels_last_norms")
    exact, exact_pipe = load_with_pipe(models, name, patches=without(*names))
    rewritten = (PackedLinear, PackedConv2d, SubPixelUpsample, ChannelsLastGroupNorm)
    assert not [layer for layer in denoiser(exact_pipe).modules() if isinstance(layer, rewritten)]
    assert largest_difference(pixels(renderer, count=2), pixels(exact, count=2)) <= 1
