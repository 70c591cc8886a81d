"""Linear layers whose weights are packed for oneDNN: on x86 CPUs twice as fast as torch's own way through MKL.

MKL leaves half of the vector units of other makers' CPUs idle, and copies the bias into the result first. The product
is float32 either way, and equal but for the order of its sums. The plain weights stay: these layers' memory doubles.
"""

import platform
from typing import Any

import torch
from torch import nn

_ROWS = 1024  # what weights are packed for; any number works


class PackedLinear(nn.Linear):
    """A linear layer as it was, computed by oneDNN. Takes and gives (..., features) float32."""

    _packed: torch.Tensor  # in oneDNN's own layout

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        if self.weight.dtype != torch.float32:  # somebody made the model another one
            return super().forward(values)
        return torch.ops.mkldnn._linear_pointwise(values, self._packed, self.bias, "none", [], "")


def pack_linear_layers(module: nn.Module) -> None:
    """Make all of a module's float32 linear layers such. Does nothing where torch has no oneDNN."""
    if not _has_onednn():
        return
    for layer in module.modules():
        if type(layer) is nn.Linear and layer.weight.dtype == torch.float32:
            layer._packed = torch.ops.mkldnn._reorder_linear_weight(layer.weight.detach(), _ROWS)
            layer.__class__ = PackedLinear  # it keeps its place, its name and its weights


def _has_onednn() -> bool:
    operators: Any = torch.ops.mkldnn
    return (
        platform.machine().lower() in ("x86_64", "amd64")
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in ("_linear_pointwise", "_reorder_linear_weight"))
    )
