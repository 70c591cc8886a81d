"""What `torch.compile` is put on, and what it made, as bytes that spare another process the work."""

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


def compiled() -> bytes | None:
    """All that this process has compiled so far; None where there is nothing."""
    saved = torch.compiler.save_cache_artifacts()
    return saved[0] if saved else None


def use_compiled(data: bytes) -> None:
    """Take what `compiled` gave; what does not fit this software or device is compiled anew.

    The bytes hold pickled objects: they must come from where code comes from, never from a store that others write to.
    """
    torch.compiler.load_cache_artifacts(data)
