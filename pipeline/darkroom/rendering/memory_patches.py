"""Patches by which a model takes less of its device's memory: layers in float8, and offloading.

In float8, attention and feed-forward layers of a denoiser take half the bytes, and have twice the matrix rate where a
GPU has it. Products are of float8 e4m3 ("FP8 Formats for Deep Learning", Micikevicius et al. 2022). Weights have a
scale for each output, activations one for each token, computed in every call: no image's numbers depend on its
neighbours in the batch, and nothing has to be calibrated. Convolutions, norms and embeddings stay in bfloat16.

Offloaded weights wait in the machine's memory, and a GPU smaller than the model computes with some at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.functional import ScalingType, scaled_mm

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import Sampling
from darkroom.rendering.loading import detach_from_files

_FORMAT = torch.float8_e4m3fn
_LARGEST = torch.finfo(_FORMAT).max
_MULTIPLE = 16  # of features that the matrix units take
_CAPABILITY = (8, 9)  # of the first GPUs with float8
_BLOCKS = "transformer_blocks"  # in the names of what diffusers' UNets and transformers repeat


# Float8 --------------------------------------------------------------------------------------------------------------


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


# Offloading ----------------------------------------------------------------------------------------------------------


def offload(pipe: Any, how: str, device: str) -> Callable[[Sampling, int], AbstractContextManager[None]]:
    """Have each component ("model") or each layer ("group", "sequential") on the device while it is called, and the
    context of a call's denoising steps, which begins with a device that is free of what was computed before them.

    diffusers frees it at the end of a pipeline's call, after which latents are decoded here.
    """
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    detach_from_files(parts.values())
    if how == "group":
        _offload_groups(pipe, parts, device)
        return lambda _sampling, _num_images: nullcontext()
    enable = pipe.enable_model_cpu_offload if how == "model" else pipe.enable_sequential_cpu_offload
    enable(device=device)

    @contextmanager
    def freed(_sampling: Sampling, _num_images: int) -> Iterator[None]:
        pipe.maybe_free_model_hooks()
        yield

    return freed


def _offload_groups(pipe: Any, parts: Mapping[str, torch.nn.Module], device: str) -> None:
    """On a GPU, the next layer's weights come while one computes. Decoders, whose `decode` diffusers' hooks do not
    follow, stay on the device, and so does what it cannot offload so."""
    staying = [name for name, part in parts.items() if hasattr(part, "decode") or not _comes_in_groups(part)]
    pipe.enable_group_offload(
        onload_device=torch.device(device),
        offload_type="leaf_level",
        use_stream=device == "cuda",
        record_stream=device == "cuda",
        exclude_modules=staying,
    )


def _comes_in_groups(part: torch.nn.Module) -> bool:
    return bool(getattr(part, "_supports_group_offloading", True))
