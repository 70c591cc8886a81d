"""Layers packed for oneDNN: the same numbers, and the same modules to everybody else."""

import copy

import numpy as np
import pytest
import torch
from diffusers.models.activations import GEGLU
from torch import nn

from darkroom.rendering import pretrained
from darkroom.rendering.packed import PackedConv2d, PackedGEGLU, PackedLinear, has_onednn, pack_layers
from darkroom.rendering.parts import denoiser
from tests.rendering.test_renderers import load, requests

pytestmark = pytest.mark.skipif(not has_onednn(), reason="this torch has no oneDNN for x86")


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


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(112, 896), (16, 64, 112)),
        (GEGLU(112, 448), (5, 64, 112)),
        (nn.Conv2d(48, 48, 3, padding=1), (16, 48, 16, 16)),
        (nn.Conv2d(7, 20, 3, stride=2), (5, 7, 9, 9)),
    ],
)
def test_rows_do_not_depend_on_one_another(layer: nn.Module, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    pack_layers(whole := nn.Sequential(layer))
    values = torch.randn(shape)
    with torch.inference_mode():
        assert torch.equal(whole(values), whole(values.flip(0)).flip(0))


def test_other_dtypes_and_other_layers_stay_as_they_are() -> None:
    half, table, narrow = nn.Linear(8, 8).bfloat16(), nn.Embedding(4, 8), nn.Conv2d(8, 8, 3).bfloat16()
    pack_layers(nn.ModuleList([half, table, narrow]))
    assert (type(half), type(table), type(narrow)) == (nn.Linear, nn.Embedding, nn.Conv2d)


def test_names_and_weights_stay() -> None:
    layer = nn.Linear(8, 4)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    pack_layers(layer)
    assert (layer.in_features, layer.weight.dtype, layer.weight.shape) == (8, torch.float32, (4, 8))
    assert layer.state_dict().keys() == before.keys()
    assert all(torch.equal(value.to_dense(), before[name]) for name, value in layer.state_dict().items())


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


def test_a_convolution_is_packed_anew_where_the_shape_changes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, shapes = nn.Conv2d(4, 4, 3), [(2, 4, 8, 8), (2, 4, 8, 8), (1, 4, 8, 8), (2, 4, 8, 8)]
    pack_layers(layer)
    packed, own = [], PackedConv2d._pack
    monkeypatch.setattr(PackedConv2d, "_pack", lambda self, shape: packed.append(tuple(shape)) or own(self, shape))
    with torch.inference_mode():
        for shape in shapes:
            layer(torch.randn(shape))
            assert layer.weight.is_mkldnn
    assert packed == [shapes[0], shapes[2], shapes[3]]


@pytest.mark.parametrize("options", [{"padding": "same"}, {"padding_mode": "circular", "padding": 1}])
def test_convolutions_of_other_kinds_stay_as_they_are(options: dict) -> None:
    layer = nn.Conv2d(4, 4, 3, **options)
    pack_layers(layer)
    assert type(layer) is nn.Conv2d


@pytest.mark.parametrize("bias", [True, False])
def test_a_gated_layer_stays_what_it_was(bias: bool) -> None:
    torch.manual_seed(0)
    layer, values = GEGLU(24, 40, bias=bias), torch.randn(3, 5, 24)
    with torch.inference_mode():
        exact = layer.double()(values.double())
        pack_layers(layer.float())
        assert type(layer) is PackedGEGLU
        assert (layer(values) - exact).abs().max() < 1e-5


@pytest.mark.parametrize("name", ["sd", "sdxl", "sd3"])
def test_a_renderers_layers_are_packed_and_its_pixels_the_same(models, monkeypatch, name: str) -> None:
    renderer = load(models, name)
    layers = list(denoiser(renderer._pipe).modules())
    assert [layer for layer in layers if isinstance(layer, PackedLinear)]
    assert not [layer for layer in layers if type(layer) in (nn.Linear, nn.Conv2d, GEGLU)]
    monkeypatch.setattr(pretrained, "has_onednn", lambda: False)
    plain = load(models, name)
    assert not [layer for layer in denoiser(plain._pipe).modules() if isinstance(layer, PackedLinear)]
    pairs = zip(renderer.render(requests(2)), plain.render(requests(2)), strict=True)
    assert all(np.abs(one.pixels.astype(int) - other.pixels).max() <= 1 for one, other in pairs)
