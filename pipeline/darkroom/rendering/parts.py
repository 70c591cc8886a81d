"""The parts of a diffusers pipeline by what they do."""

from typing import Any


def denoiser(pipe: Any) -> Any:
    """The network that is called in every step: a UNet or a transformer; None where it is called otherwise."""
    return getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
