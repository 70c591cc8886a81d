"""What `torch.compile` is put on."""

from typing import Any

import torch


def compile_pipeline(pipe: Any) -> None:
    """Of a transformer that names its repeated blocks these alone, which is less work; of other denoisers the whole."""
    transformer = getattr(pipe, "transformer", None)
    if transformer is not None and getattr(transformer, "_repeated_blocks", None):
        transformer.compile_repeated_blocks(dynamic=False)
    elif transformer is not None:
        pipe.transformer = torch.compile(transformer, dynamic=False)
    if getattr(pipe, "unet", None) is not None:
        pipe.unet = torch.compile(pipe.unet, dynamic=False)
    pipe.vae.decode = torch.compile(pipe.vae.decode, dynamic=False)
