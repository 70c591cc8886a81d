"""Offloading: weights wait in the machine's memory, and a GPU smaller than the model computes with some at a time."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from darkroom.domain.settings import Sampling
from darkroom.rendering.loading import detach_from_files


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
