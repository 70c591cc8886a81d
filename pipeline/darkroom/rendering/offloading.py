"""Offloading: weights wait in the machine's memory, and a GPU smaller than the model computes with some at a time."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

from darkroom.domain.settings import Sampling
from darkroom.rendering.loading import detach_from_files


def offload(pipe: Any, how: str, device: str) -> Callable[[Sampling, int], AbstractContextManager[None]]:
    """Have each component ("model") or each layer ("sequential") on the device while it is called, and the context of a
    call's denoising steps, which begins with a device that is free of what was computed before them.

    diffusers frees it at the end of a pipeline's call, after which latents are decoded here.
    """
    detach_from_files(part for part in pipe.components.values() if isinstance(part, torch.nn.Module))
    enable = pipe.enable_model_cpu_offload if how == "model" else pipe.enable_sequential_cpu_offload
    enable(device=device)

    @contextmanager
    def freed(_sampling: Sampling, _num_images: int) -> Iterator[None]:
        pipe.maybe_free_model_hooks()
        yield

    return freed
