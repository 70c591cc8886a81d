"""Group norms channels last: as exact as torch's others, and no row with a part in another's sums."""

import pytest
import torch
from torch import nn

from darkroom.rendering.group_norm import ChannelsLastGroupNorm, norm_channels_last


def norm(groups: int, channels: int) -> nn.GroupNorm:
    torch.manual_seed(0)
    layer = nn.GroupNorm(groups, channels)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    return layer


@pytest.mark.parametrize("mean", [0.0, 30.0])
@pytest.mark.parametrize(("groups", "channels", "side"), [(16, 48, 16), (4, 4, 3), (8, 32, 256), (1, 6, 1)])
def test_as_exact_as_of_other_layouts(groups: int, channels: int, side: int, mean: float) -> None:
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
def test_rows_do_not_depend_on_one_another(threads: int, count: int) -> None:
    layer = norm(8, 32)
    norm_channels_last(layer)
    torch.set_num_threads(threads)
    picture = torch.randn(1, 32, 48, 48).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        rows = layer(picture.expand(count, -1, -1, -1).contiguous(memory_format=torch.channels_last))
    assert all(torch.equal(row, rows[0]) for row in rows)


def test_other_inputs_and_layers_are_as_ever() -> None:
    layer, half, bare = norm(2, 4), norm(2, 4).bfloat16(), nn.GroupNorm(2, 4, affine=False)
    tokens, pictures = torch.randn(3, 4, 7), torch.randn(3, 4, 5, 6)
    wanted = layer(tokens), layer(pictures)
    norm_channels_last(nn.ModuleList([layer, half, bare]))
    assert (type(half), type(bare)) == (nn.GroupNorm, nn.GroupNorm)
    assert torch.equal(layer(tokens), wanted[0])
    assert torch.equal(layer(pictures), wanted[1])
