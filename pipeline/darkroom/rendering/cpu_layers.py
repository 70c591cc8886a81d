"""Layers of a denoiser rewritten for x86 CPUs with oneDNN. Pixels stay equal up to the order of sums.

Three rewrites, in the order in which they are applied: doubling and convolution as one small convolution, weights
packed for oneDNN, and group norms of pictures that lie channels last in memory. Each changes the class of float32
layers in place, so that names and weights stay.
"""

import platform
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from diffusers.models.embeddings import HunyuanDiTAttentionPool
from diffusers.models.upsampling import Upsample2D
from torch import nn
from torch.nn.utils import skip_init

_OPERATORS = ("_linear_pointwise", "_reorder_linear_weight", "_convolution_pointwise")
_USING_WEIGHTS = (HunyuanDiTAttentionPool,)  # use their layers' weights as plain tensors, and not the layers
_PACKED_ROWS = 1024  # rows that a linear layer's weight is packed for; any number works
# (even or odd pixel of the large picture, pixel of the small one, row of the 3x3 kernel) -> whether it is added there
_TAPS = torch.tensor([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]])


def has_onednn() -> bool:
    """Whether this torch computes with oneDNN on this CPU, and has the operators for packed weights."""
    operators: Any = torch.ops.mkldnn
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in _OPERATORS)
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )


# Doubling a picture's size and the 3x3 convolution behind it, as one 2x2 convolution of the small picture -----------


class SubPixelUpsample(Upsample2D):
    """(N, C, H, W) to (N, C', 2H, 2W), channels last in memory, with 4/9 of the products.

    A 3x3 neighbourhood of a doubled picture holds 2x2 different pixels, in one of four ways, so that four 2x2 kernels
    do its work: "Checkerboard artifact free sub-pixel convolution" (Aitken et al. 2017).
    """

    small: nn.Conv2d  # of the small picture: (N, C, H, W) to (N, 4 C', H + 1, W + 1)

    def forward(self, hidden_states: torch.Tensor, output_size: Any = None, *_: Any, **__: Any) -> torch.Tensor:
        height, width = hidden_states.shape[-2:]
        if output_size is not None and tuple(output_size) != (2 * height, 2 * width):
            return super().forward(hidden_states, output_size)
        return _interleaved(self.small(hidden_states))


def upsample_by_subpixels(module: nn.Module) -> None:
    """Rewrite each doubling with a float32 3x3 convolution of stride 1 behind it.

    The convolution's weight stays, for other sizes than the double, beside a new one of 16/9 of its size.
    """
    for layer in module.modules():
        if type(layer) is Upsample2D and _is_doubling(layer):
            layer.small = _small_convolution(layer.conv)
            layer.__class__ = SubPixelUpsample


def _is_doubling(layer: Upsample2D) -> bool:
    conv = getattr(layer, "conv", None)
    if not layer.interpolate or layer.norm is not None or type(conv) is not nn.Conv2d or conv.padding_mode != "zeros":
        return False
    found = conv.kernel_size, conv.stride, conv.padding, conv.dilation, conv.groups, conv.weight.dtype
    return found == ((3, 3), (1, 1), (1, 1), (1, 1), 1, torch.float32)


def _small_convolution(conv: Any) -> nn.Conv2d:
    """Kernels of the pixels 00, 01, 10 and 11 of each 2x2, one after another: (C', C, 3, 3) to (4 C', C, 2, 2)."""
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


# Weights in oneDNN's layouts ----------------------------------------------------------------------------------------


class PackedLinear(nn.Linear):
    """A linear layer, (..., features) float32, whose weight is packed for oneDNN.

    torch's linear layers use MKL, which leaves half of the vector units of other makers' CPUs idle and copies the bias
    into the result first: packed ones are twice as fast there.
    """

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")


class PackedConv2d(nn.Conv2d):
    """A convolution, (N, C, H, W) float32, channels last in its result, packed for the shape that it was given last.

    torch's convolutions pack their weight in every call.
    """

    packed_for: torch.Size | None = None

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        if pictures.shape != self.packed_for:
            self._pack(pictures.shape)
        return torch.ops.mkldnn._convolution_pointwise(
            pictures.contiguous(memory_format=torch.channels_last), self.weight, self.bias, *self._how, "none", [], ""
        )

    @property
    def _how(self) -> tuple[Any, Any, Any, int]:
        return self.padding, self.stride, self.dilation, self.groups

    def _pack(self, shape: torch.Size) -> None:
        weight = self.weight if self.weight.is_mkldnn else self.weight.detach().contiguous().to_mkldnn()
        reorder: Any = torch._C._nn.mkldnn_reorder_conv2d_weight
        self.weight = nn.Parameter(reorder(weight, *self._how, shape), requires_grad=False)
        self.packed_for = shape


class PackedGEGLU(GEGLU):
    """A gated layer as two products, so that the gate's GELU is computed with its product: (..., in) to (..., out)."""

    value: nn.Linear
    gate: nn.Linear

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate = torch.ops.mkldnn._linear_pointwise(hidden_states, self.gate.weight, self.gate.bias, "gelu", [], "none")
        return gate.mul_(self.value(hidden_states))


def pack_layers(module: nn.Module) -> None:
    """Pack all float32 linear layers and zero-padded convolutions. A packed module cannot be copied or cast."""
    for layer in list(module.modules()):
        if type(layer) is GEGLU and _is_float32_linear(layer.get_submodule("proj")):
            _split_gate(layer)
    unpacked = {part for layer in module.modules() if isinstance(layer, _USING_WEIGHTS) for part in layer.modules()}
    for layer in list(module.modules()):
        if layer in unpacked:
            continue
        if _is_float32_linear(layer):
            _pack_linear(layer)
        elif type(layer) is nn.Conv2d and layer.weight.dtype == torch.float32 and _pads_zeros(layer):
            layer.__class__ = PackedConv2d


def _is_float32_linear(layer: nn.Module) -> bool:
    """None whose weight is quantized, and says that it is float32."""
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32 and type(layer.weight) is nn.Parameter


def _pads_zeros(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _pack_linear(layer: Any) -> None:
    """The unpacked weight is released, which would double the model's memory."""
    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _PACKED_ROWS)
    layer.weight = nn.Parameter(packed, requires_grad=False)
    layer.__class__ = PackedLinear


def _split_gate(layer: Any) -> None:
    layer.value, layer.gate = (_half_of_outputs(layer.proj, number) for number in range(2))
    del layer.proj
    layer.__class__ = PackedGEGLU


def _half_of_outputs(whole: nn.Linear, number: int) -> nn.Linear:
    half = skip_init(nn.Linear, whole.in_features, whole.out_features // 2, whole.bias is not None)
    half.weight = nn.Parameter(whole.weight.detach().chunk(2)[number].clone(), requires_grad=False)
    if whole.bias is not None:
        half.bias = nn.Parameter(whole.bias.detach().chunk(2)[number].clone(), requires_grad=False)
    return half


# Group norms of pictures that lie channels last ---------------------------------------------------------------------


class ChannelsLastGroupNorm(nn.GroupNorm):
    """(N, C, H, W) float32, channels last in memory, to the same; other inputs take torch's way.

    torch's kernel for this layout adds up x and x^2 one after another, which loses digits in large pictures, and splits
    a row between threads, so that rows depend on their number. Here means and centred squares are summed row by row,
    which is faster where groups are narrow and slower where they are wide.
    """

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        if pictures.ndim != 4 or not pictures.is_contiguous(memory_format=torch.channels_last):
            return super().forward(pictures)
        rows = pictures.permute(0, 2, 3, 1).flatten(1, 2)  # (N, H * W, C)
        mean = self._group_means(rows.mean(1))
        centred = rows - mean
        variance = self._group_means(centred.square_().mean(1))
        scale = torch.rsqrt(variance + self.eps) * self.weight
        shift = torch.addcmul(self.bias, mean, scale, value=-1)
        return torch.addcmul(shift, rows, scale, out=centred).unflatten(1, pictures.shape[2:]).permute(0, 3, 1, 2)

    def _group_means(self, means: torch.Tensor) -> torch.Tensor:
        """(N, C) means of channels to (N, 1, C) means of the group that each channel belongs to."""
        groups = means.unflatten(1, (self.num_groups, -1))
        return groups.mean(2, keepdim=True).expand_as(groups).flatten(1).unsqueeze(1)


def norm_channels_last(module: nn.Module) -> None:
    """Rewrite all float32 group norms that have weights."""
    for layer in module.modules():
        if type(layer) is nn.GroupNorm and layer.affine and layer.weight.dtype == torch.float32:
            layer.__class__ = ChannelsLastGroupNorm
