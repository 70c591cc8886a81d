"""Linear layers whose weights are packed for oneDNN: on x86 CPUs twice as fast as torch's own way through MKL.

MKL leaves half of the vector units of other makers' CPUs idle, and copies the bias into the result first. The product
is float32 either way, and equal but for the order of its sums.
"""

import platform
from typing import Any

import torch
from diffusers.models.activations import GEGLU
from torch import nn

_ROWS = 1024  # what weights are packed for; any number works


class PackedLinear(nn.Linear):
    """A linear layer whose weight is in oneDNN's own layout. Takes and gives (..., features) float32."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return torch.ops.mkldnn._linear_pointwise(values, self.weight, self.bias, "none", [], "")


class PackedGEGLU(GEGLU):
    """A gated layer whose halves are two products, so that the gate's GELU is taken while the product is at hand."""

    value: nn.Linear
    gate: nn.Linear

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        gate = torch.ops.mkldnn._linear_pointwise(hidden_states, self.gate.weight, self.gate.bias, "gelu", [], "none")
        return gate.mul_(self.value(hidden_states))


def pack_linear_layers(module: nn.Module) -> None:
    """Make all of a module's float32 linear layers such. Does nothing where torch has no oneDNN."""
    if not _has_onednn():
        return
    for layer in list(module.modules()):
        if type(layer) is GEGLU and _is_packable(layer.get_submodule("proj")):
            _halve(layer)
    for layer in list(module.modules()):
        if _is_packable(layer):
            _pack(layer)


def _is_packable(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear and layer.weight.dtype == torch.float32


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
    half = nn.Linear(whole.in_features, whole.out_features // 2, whole.bias is not None)
    half.weight = nn.Parameter(whole.weight.detach().chunk(2)[number].clone(), requires_grad=False)
    if whole.bias is not None:
        half.bias = nn.Parameter(whole.bias.detach().chunk(2)[number].clone(), requires_grad=False)
    return half


def _has_onednn() -> bool:
    operators: Any = torch.ops.mkldnn
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    )
