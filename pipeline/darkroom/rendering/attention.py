"""How a transformer computes its attention, by the names of diffusers' attention backends.

diffusers 0.42 asks the processors of newer transformers, such as Flux's and Qwen-Image's, which backend to take; UNets
and older transformers, such as Stable Diffusion 3's, have one way alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.setting_values import unknown
from darkroom.domain.settings import ModelRef
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import config_of

_TRIED = (1, 8, 2, 64)  # rows, tokens, heads and width of what a backend is tried with


@loads_models
def check_attention_backend(ref: ModelRef, class_name: str, folder: Path, device: str) -> None:
    """Raises DarkroomError for a backend that the model does not ask for, that this machine lacks the package of, or
    that does not compute on a CPU where one is asked for."""
    if ref.attention_backend is None:
        return
    said, config = f"model.attention_backend={ref.attention_backend}", config_of(folder / "transformer")
    _check_name(ref.attention_backend)
    transformer = _empty(config)
    if transformer is None or not _asking(transformer):
        raise DarkroomError(
            f"{said}: the denoiser of {class_name} computes its attention in one way alone; leave it out"
        )
    set_attention_backend(transformer, ref.attention_backend)
    if device == "cpu":
        _try(said, ref.attention_backend, device)


def set_attention_backend(transformer: Any, name: str) -> None:
    """Have this transformer, and no other, compute its attention so. Raises DarkroomError where a package misses."""
    from diffusers.utils import logging

    logging.set_verbosity_error()  # else it tells that backends are new
    with _others_as_they_are():
        try:
            transformer.set_attention_backend(name)
        except (RuntimeError, ImportError, ValueError) as error:
            raise DarkroomError(f"model.attention_backend={name}: {first_line(error)}") from error


def apply_attention_backend(transformer: Any, name: str, device: str) -> None:
    """The same of a loaded one, once it is seen that the device computes so. Raises DarkroomError where it does not."""
    set_attention_backend(transformer, name)
    _try(f"model.attention_backend={name}", name, device)


def _check_name(name: str) -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    names = [each.value for each in AttentionBackendName]
    if name not in names:
        raise DarkroomError(f"model.attention_backend={name}: {unknown(name, names, 'backend')}")


def _empty(config: dict[str, Any]) -> Any:
    """The transformer without weights; None where diffusers has no such class."""
    import diffusers
    import torch

    kind = getattr(diffusers, str(config.get("_class_name")), None)
    with torch.device("meta"):
        return kind.from_config(config) if kind else None


def _asking(transformer: Any) -> list[Any]:
    """The processors that have a backend."""
    processors = (getattr(module, "processor", None) for module in transformer.modules())
    return [each for each in processors if hasattr(each, "_attention_backend")]


@contextmanager
def _others_as_they_are() -> Iterator[None]:
    """diffusers makes a model's backend that of all models of the process that have none of their own."""
    from diffusers.models.attention_dispatch import _AttentionBackendRegistry

    before = _AttentionBackendRegistry.get_active_backend()[0]
    try:
        yield
    finally:
        _AttentionBackendRegistry.set_active_backend(before)


def _try(said: str, name: str, device: str) -> None:
    """Compute a little with it."""
    import torch
    from diffusers.models.attention_dispatch import dispatch_attention_fn

    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    given = [torch.zeros(_TRIED, device=device, dtype=dtype)] * 3
    try:
        dispatch_attention_fn(*given, backend=name)
    except Exception as error:  # kernels raise what they like
        raise DarkroomError(
            f"{said}: does not compute on this device, {device} ({first_line(error)}); leave it out"
        ) from error
