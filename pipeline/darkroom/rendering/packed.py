"""Layers whose weights are packed for oneDNN: on x86 CPUs linear ones are twice as fast as torch's own, through MKL.

MKL leaves half of the vector units of other makers' CPUs idle, and copies the bias into the result first; and torch
packs a convolution's weight anew in every call. Products are float32 either way, and equal but for the order of sums.
"""

import platform
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from torch import nn
from torch.nn.utils import skip_init

_OPERATORS = ("_linear_pointwise", "_reorder_linear_weight", "_convolution_pointwise")
_ROWS = 1024  # what weights are packed for; any number works


class PackedLinear(nn.Linear):
    """A linear layer whose weight is in oneDNN's own layout. Takes and gives (..., features) float32."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")


class PackedConv2d(nn.Conv2d):
    """A convolution whose weight is in the layout that is best for the pictures it was given last.

    Takes (N, C, H, W) float32, and gives such, channels last in memory.
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
    """A gated layer whose halves are two products, so that the gate's GELU is taken while the product is at hand."""

    value: nn.Linear
    gate: nn.Linear

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate = torch.ops.mkldnn._linear_pointwise(hidden_states, self.gate.weight, self.gate.bias, "gelu", [], "none")
        return gate.mul_(self.value(hidden_states))


def pack_layers(module: nn.Module) -> None:
    """Make all of a module's float32 linear layers and convolutions such: it stays float32, and can't be copied."""
    for layer in list(module.modules()):
        if type(layer) is GEGLU and _is_packable(layer.get_submodule("proj")):
            _halve(layer)
    for layer in list(module.modules()):
        if _is_packable(layer):
            _pack(layer)
        elif type(layer) is nn.Conv2d and layer.weight.dtype == torch.float32 and _is_plain(layer):
            layer.__class__ = PackedConv2d


def _is_packable(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32


def _is_plain(layer: nn.Conv2d) -> bool:
    return layer.padding_mode == "zeros" and not isinstance(layer.padding, str)


def _pack(layer: Any) -> None:
    """It keeps its place and its name; the plain weight is let go, which would double the model's memory."""
    packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
    layer.weight = nn.Parameter(packed, requires_grad=False)
    layer.__class__ = PackedLinear


def _halve(layer: Any) -> None:
    layer.value, layer.gate = (_rows(layer.proj, number) for number in range(2))
    del layer.proj
    layer.__class__ = PackedGEGLU


def _rows(whole: nn.Linear, number: int) -> nn.Linear:
    """The first or the second half of a layer's outputs."""
    half = skip_init(nn.Linear, whole.in_features, whole.out_features // 2, whole.bias is not None)
    half.weight = nn.Parameter(whole.weight.detach().chunk(2)[number].clone(), requires_grad=False)
    if whole.bias is not None:
        half.bias = nn.Parameter(whole.bias.detach().chunk(2)[number].clone(), requires_grad=False)
    return half


def has_onednn() -> bool:
    """Whether this torch computes by oneDNN on this CPU."""
    operators: Any = torch.ops.mkldnn
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in _OPERATORS)
        and hasattr(torch._C._nn, "mkldnn_reorder_conv2d_weight")
    )
