"""Doubling a picture's size and the 3x3 convolution behind it as one convolution of the small picture.

A doubled picture's 3x3 neighbourhood holds but 2x2 different pixels, in one of four ways, so that four kernels of 2x2
do its work with 4/9 of the products: "Checkerboard artifact free sub-pixel convolution" (Aitken et al. 2017). Equal up
to the order of sums.
"""

from typing import Any

import torch
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.nn.utils import skip_init

_TAPS = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])  # (even or odd pixel, small pixel, kernel's row)


class SubPixelUpsample(Upsample2D):
    """Takes (N, C, H, W) and gives (N, C', 2H, 2W), channels last in memory."""

    small: nn.Conv2d  # of the small picture: (N, C, H, W) to (N, 4 C', H + 1, W + 1)

    def forward(self, hidden_states: torch.Tensor, output_size: Any = None, *_: Any, **__: Any) -> torch.Tensor:
        height, width = hidden_states.shape[-2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            return super().forward(hidden_states, output_size)
        return _interleaved(self.small(hidden_states))


def upsample_by_subpixels(module: nn.Module) -> None:
    """Make all of a module's doublings such that have an ordinary float32 3x3 convolution behind them.

    Its weight stays, for other sizes than the double, beside one of 16/9 of its size.
    """
    for layer in module.modules():
        if type(layer) is Upsample2D and _is_ordinary(layer):
            layer.small = _small(layer.conv)
            layer.__class__ = SubPixelUpsample


def _is_ordinary(layer: Upsample2D) -> bool:
    conv = getattr(layer, "conv", None)
    if not layer.interpolate or layer.norm is not None or type(conv) is not nn.Conv2d or conv.padding_mode != "zeros":
        return False
    found = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.weight.dtype
    return found == ((3, 3), (1, 1), (1, 1), (1, 1), 1, torch.float32)


def _small(conv: Any) -> nn.Conv2d:
    """One after another the kernels of the pixels 00, 01, 10 and 11 of each 2x2."""
    small = skip_init(nn.Conv2d, conv.in_channels, 4 * conv.out_channels, 2, padding=1, bias=conv.bias is not None)
    taps = _TAPS.to(conv.weight)
    kernels = torch.einsum("ahy,bwx,oiyx->aboihw", taps, taps, conv.weight.detach())
    small.weight = nn.Parameter(kernels.flatten(0, 2), requires_grad=False)
    if conv.bias is not None:
        small.bias = nn.Parameter(conv.bias.detach().repeat(4), requires_grad=False)
    return small


def _interleaved(parts: torch.Tensor) -> torch.Tensor:
    """(N, 4 C', H + 1, W + 1) to (N, C', 2H, 2W): an odd pixel's neighbourhood begins one small pixel later."""
    rows = parts.permute(0, 2, 3, 1)
    count, height, width, channels = len(rows), rows.shape[1] - 1, rows.shape[2] - 1, rows.shape[3] // 4
    whole = rows.new_empty(count, height, 2, width, 2, channels)
    for number, part in enumerate(rows.split(channels, dim=3)):
        below, right = divmod(number, 2)
        whole[:, :, below, :, right] = part[:, below : below + height, right : right + width]
    return whole.view(count, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
