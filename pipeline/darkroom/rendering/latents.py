"""Latents: drawn as each image's noise, decoded to pixels, and checked for values that half precision cannot hold."""

from collections.abc import Sequence
from typing import Any

import torch


def draw_noise(pipe: Any, generators: Sequence[torch.Generator], height: int, width: int) -> torch.Tensor:
    """(N, C, h, w) noise for images of this size in pixels, in the UNet's dtype on its device.

    Drawn in float32 on the CPU, by a generator for each image: the same on every device and in every batch.
    """
    scale = pipe.vae_scale_factor
    shape = (pipe.unet.config.in_channels, height // scale, width // scale)
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    return noise.to(pipe._execution_device, pipe.unet.dtype)


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) latents as a pipeline returns them to (N, 3, H, W) float32 in [-1, 1]; NaN where it overflowed.

    Decoded in the VAE's dtype; an image that was not finite is replaced by its float32 decoding. Its neighbours stay as
    they are, so that no image depends on another.
    """
    decoded = _decode(vae, _unscaled(vae, latents)).float()
    if vae.dtype == torch.float32 or torch.isfinite(decoded).all():
        return decoded
    dtype = vae.dtype
    vae.to(torch.float32)
    try:
        exact = _decode(vae, _unscaled(vae, latents.float()))
    finally:
        vae.to(dtype)
    is_finite = torch.isfinite(decoded).flatten(1).all(1)
    return torch.where(is_finite.view(-1, 1, 1, 1), decoded, exact)


def to_pixels(decoded: torch.Tensor) -> torch.Tensor:
    """(N, 3, H, W) float32 in [-1, 1] to (N, H, W, 3) uint8, on the same device: a quarter of the bytes to copy."""
    return ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def faults(decoded: torch.Tensor) -> list[str | None]:
    """Why each decoded image, of (N, 3, H, W), cannot be used; None where it can."""
    flat = decoded.flatten(1)
    are_finite, are_black = torch.isfinite(flat).all(1).tolist(), (flat.amax(1) <= -1).tolist()
    return [_fault(*image) for image in zip(are_finite, are_black, strict=True)]


def _fault(is_finite: bool, is_black: bool) -> str | None:
    if not is_finite:
        return "the decoded image has NaN or infinite values, also in float32"
    return "every pixel is black" if is_black else None


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0]


def _unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the decoder takes them, by the mean and standard deviation, or the factor, of the VAE's config."""
    config = vae.config
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        mean, std = (torch.tensor(value).view(1, -1, 1, 1).to(latents) for value in (mean, std))
        return latents * std / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
