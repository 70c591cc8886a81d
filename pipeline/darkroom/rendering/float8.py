"""Attention and feed-forward layers of a denoiser in float8: half the bytes, twice the matrix rate where a GPU has it.

Products are of float8 e4m3 ("FP8 Formats for Deep Learning", Micikevicius et al. 2022). Weights have a scale for each
output, activations one for each token, computed in every call: no image's numbers depend on its neighbours in the
batch, and nothing has to be calibrated. Convolutions, norms and embeddings stay in bfloat16.
"""

from typing import Any

import torch
from torch import nn
from torch.nn.functional import ScalingType, scaled_mm

from darkroom.domain.errors import DarkroomError

_FORMAT = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FORMAT).max
_MULTIPLE = 16  # of features that the matrix units take
_CAPABILITY = (8, 9)  # of the first GPUs with float8
_BLOCKS = "transformer_blocks"  # in the names of what diffusers' UNets and transformers repeat


class Float8Linear(nn.Module):
    """A linear layer as a float8 product: (..., in) bfloat16 to (..., out) bfloat16."""

    _weight: torch.Tensor
    _scale: torch.Tensor

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self._bias = linear.bias
        weight, scale = scaled(linear.weight.detach())  # (out, in), (out, 1)
        self.register_buffer("_weight", weight)  # moved with the rest of the model
        self.register_buffer("_scale", scale)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        rows, scale = scaled(values.flatten(0, -2))
        product = scaled_mm(
            rows, self._weight.t(), scale, ScalingType.RowWise, self._scale.t(), ScalingType.RowWise,
            bias=self._bias, output_dtype=values.dtype, use_fast_accum=True,
        )  # fmt: skip
        return product.unflatten(0, values.shape[:-1])


def scaled(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(rows, n) to the same in float8, and (rows, 1) float32 by which to multiply: each row fills float8's range."""
    scale = values.abs().amax(-1, keepdim=True).float().clamp(min=1e-12) / _LARGEST
    return (values.float() / scale).to(_FORMAT), scale


def to_float8(network: Any, device: torch.device) -> None:
    """Replace a denoiser's layers by float8 ones. Raises DarkroomError where device or network has no float8 ones."""
    _check_device(device)
    names = [name for name, module in network.named_modules() if _fits(name, module)] if network is not None else []
    if not names:
        kind = "a pipeline without a denoiser" if network is None else type(network).__name__
        raise DarkroomError(f"model.dtype=float8: {kind} has no {_BLOCKS} with layers to convert; use bfloat16")
    for name in names:
        network.set_submodule(name, Float8Linear(network.get_submodule(name)))


def _fits(name: str, module: nn.Module) -> bool:
    """Attention and feed-forward layers of the repeated blocks; projections of adaptive norms stay exact."""
    if not isinstance(module, nn.Linear) or _BLOCKS not in name or "norm" in name:
        return False
    return module.in_features % _MULTIPLE == module.out_features % _MULTIPLE == 0


def _check_device(device: torch.device) -> None:
    if device.type == "cpu" or (device.type == "cuda" and torch.cuda.get_device_capability() >= _CAPABILITY):
        return
    raise DarkroomError(
        f"model.dtype=float8: {device.type} here has no float8; use model.dtype=bfloat16, or a GPU of compute "
        f"capability {'.'.join(map(str, _CAPABILITY))} or more"
    )
