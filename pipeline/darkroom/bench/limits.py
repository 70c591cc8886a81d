"""What a device could do at most: the work in an image, and the rate at which the device multiplies matrices."""

import time
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from darkroom.bench.architectures import Architecture, unet, vae

_TOKENS = 77
_SIDE = 8192  # of the square matrices
_REPEATS = 30


def unet_flop(architecture: Architecture) -> float:
    """Of one row of a batch, in one step; counted on shapes alone."""
    with torch.device("meta"):
        model = unet(architecture)
        side = architecture.unet["sample_size"]
        text = torch.empty(1, _TOKENS, architecture.unet["cross_attention_dim"])
        pooled = torch.empty(1, architecture.text_encoders[-1]["hidden_size"])
        added = {"text_embeds": pooled, "time_ids": torch.empty(1, 6)} if architecture.is_xl else None
        arguments = torch.empty(1, 4, side, side), torch.empty(1), text
    return _counted(lambda: model(*arguments, added_cond_kwargs=added))


def vae_flop(architecture: Architecture) -> float:
    """Of decoding one image."""
    with torch.device("meta"):
        model = vae(architecture)
        latents = torch.empty(1, 4, architecture.side // 8, architecture.side // 8)
    return _counted(lambda: model.decode(latents))


def image_flop(architecture: Architecture, num_inference_steps: int) -> float:
    """Of an image with guidance, two rows a step; the text apart."""
    return 2 * num_inference_steps * unet_flop(architecture) + vae_flop(architecture)


def matrix_rate(device: str, dtype: torch.dtype) -> float:
    """Floating-point operations a second of large products, as the card does them now."""
    one, other = (torch.randn(_SIDE, _SIDE, device=device, dtype=dtype) for _ in range(2))
    for repeats in (3, _REPEATS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        for _ in range(repeats):
            one @ other
        torch.cuda.synchronize()
    return 2 * _SIDE**3 * _REPEATS / (time.perf_counter() - started)


def _counted(call: Any) -> float:
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        call()
    return float(counter.get_total_flops())
