"""The parts of a diffusers pipeline by what they do."""

from typing import Any


def denoiser(pipe: Any) -> Any:
    """The network that is called in every step: a UNet or a transformer."""
    return getattr(pipe, "unet", None) or pipe.transformer
