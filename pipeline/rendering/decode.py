"""Latents to pixels, and what to do when half precision overflows on the way."""

from typing import Any

import numpy as np
import torch


def decode_latents(vae: Any, latents: torch.Tensor) -> np.ndarray:
    """(N, C, h, w) latents as a pipeline gives them to (N, 3, H, W) float32 in [-1, 1]; NaN where it overflowed.

    Decoded in the VAE's own dtype, and again in float32 where that was not finite.
    """
    decoded = _decode(vae, _unscaled(vae, latents))
    if not torch.isfinite(decoded).all() and vae.dtype != torch.float32:
        dtype = vae.dtype
        vae.to(torch.float32)
        try:
            decoded = _decode(vae, _unscaled(vae, latents.float()))
        finally:
            vae.to(dtype)
    return decoded.float().cpu().numpy()


def to_pixels(image: np.ndarray) -> np.ndarray:
    """(3, H, W) float in [-1, 1] to (H, W, 3) uint8."""
    return np.ascontiguousarray(np.rint(np.clip(image / 2 + 0.5, 0, 1) * 255).astype(np.uint8).transpose(1, 2, 0))


def trouble(image: np.ndarray) -> str | None:
    """Why a decoded image cannot be kept, if it cannot."""
    if not np.isfinite(image).all():
        return "the decoded image has NaN or infinite values, also in float32"
    if image.max() <= -1:
        return "every pixel is black"
    return None


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0]


def _unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    config = vae.config
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        mean, std = (torch.tensor(value).view(1, -1, 1, 1).to(latents) for value in (mean, std))
        return latents * std / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
