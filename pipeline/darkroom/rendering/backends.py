"""What computes a model's denoiser: torch, or OpenVINO for the UNets of Stable Diffusion on CPUs; and a transformer's
attention, by the names of diffusers' attention backends.

A library is chosen for a job, by the process that starts it, and every worker goes by that: their low bits differ.
diffusers 0.42 asks the processors of newer transformers, such as Flux's and Qwen-Image's, which backend of attention to
take; UNets and older transformers, such as Stable Diffusion 3's, have one way alone.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import CONTROLNET, GGUF, LORAS
from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.setting_values import unknown
from darkroom.domain.settings import NONE, ModelRef, Sampling
from darkroom.rendering.family import STEERED
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import config_of

AUTO = "auto"  # OpenVINO where it can, else torch
TORCH = "torch"
OPENVINO = "openvino"  # the package's name too
BACKENDS = (AUTO, TORCH, OPENVINO)
_UNET = "UNet2DConditionModel"
_OUTSIDE = frozenset({"guidance_start", "guidance_stop"})  # lossy settings that act outside of the UNet
_TRIED = (1, 8, 2, 64)  # rows, tokens, heads and width of what a backend is tried with


def backend_of(asked: str, model: InspectedModel, device: str, is_compiled: bool = False) -> str:
    """The backend of a model that is asked for: torch or OpenVINO. Raises DarkroomError where OpenVINO cannot be."""
    fault = None if asked == TORCH else openvino_fault(model, device, is_compiled)
    if asked == OPENVINO and fault:
        raise DarkroomError(f"engine.backend={OPENVINO}: {fault}")
    return TORCH if fault or asked == TORCH else OPENVINO


def openvino_fault(model: InspectedModel, device: str, is_compiled: bool = False) -> str | None:
    """Why OpenVINO cannot compute the model's denoiser, and what to do instead; None where it can."""
    identity = model.identity
    if not _has_known_unet(model):
        return f"it computes UNets of {' and '.join(STEERED)}, and {identity.repo_id} has none; leave it out"
    if device != "cpu":
        return f"it computes on CPUs, and the device is {device}; leave it out, or give engine.device=cpu"
    if is_compiled:
        return "engine.compile=true compiles the same UNet; leave one of them out"
    if identity.dtype != "float32":
        return f"it computes in float32, and the dtype is {identity.dtype}; leave it out, or give model.dtype=float32"
    if identity.quantization != NONE:
        return f"model.quantization={identity.quantization} is torch's; leave one of them out"
    if any(file.part.kind == LORAS for file in model.parts):
        return "layers with LoRAs are torch's; leave model.loras or engine.backend out"
    if any(file.part.kind == GGUF for file in model.parts):
        return "weights of model.gguf are torch's; leave one of them out"
    if any(file.part.kind == CONTROLNET for file in model.parts):
        return "a UNet with model.controlnet is torch's; leave one of them out"
    if openvino_version() is None:
        return f"it needs the package {OPENVINO}; run `pip install 'darkroom[openvino]'`"
    return None


def torch_settings(sampling: Sampling) -> list[str]:
    """Names of those that change layers for a while, with which a call is torch's even where OpenVINO computes."""
    return [name for name in sampling.lossy if name not in _OUTSIDE]


def openvino_version() -> str | None:
    """Of the installed package; None where there is none."""
    try:
        return version(OPENVINO)
    except PackageNotFoundError:
        return None


def _has_known_unet(model: InspectedModel) -> bool:
    if model.folder is None or model.identity.pipeline_class not in STEERED:
        return False
    return config_of(Path(model.folder) / "unet").get("_class_name") == _UNET


# Attention -----------------------------------------------------------------------------------------------------------


@loads_models
def check_attention_backend(ref: ModelRef, class_name: str, folder: Path, device: str) -> None:
    """Raises DarkroomError for a backend that the model does not ask for, that this machine lacks the package of, or
    that does not compute on a CPU where one is asked for."""
    if ref.attention_backend is None:
        return
    said, config = f"model.attention_backend={ref.attention_backend}", config_of(folder / "transformer")
    _check_attention_name(ref.attention_backend)
    transformer = _empty_transformer(config)
    if transformer is None or not _asking(transformer):
        raise DarkroomError(
            f"{said}: the denoiser of {class_name} computes its attention in one way alone; leave it out"
        )
    set_attention_backend(transformer, ref.attention_backend)
    if device == "cpu":
        _try_attention(said, ref.attention_backend, device)


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
    _try_attention(f"model.attention_backend={name}", name, device)


def _check_attention_name(name: str) -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    names = [each.value for each in AttentionBackendName]
    if name not in names:
        raise DarkroomError(f"model.attention_backend={name}: {unknown(name, names, 'backend')}")


def _empty_transformer(config: dict[str, Any]) -> Any:
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


def _try_attention(said: str, name: str, device: str) -> None:
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
