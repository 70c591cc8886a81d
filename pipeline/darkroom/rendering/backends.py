"""Which library computes a model's denoiser: torch, or OpenVINO for the UNets of Stable Diffusion on CPUs.

One is chosen for a job, by the process that starts it, and every worker goes by that: their low bits differ.
"""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from darkroom.domain.adapters import GGUF, LORAS
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import NONE, Sampling
from darkroom.rendering.inspection import STEERED, InspectedModel
from darkroom.rendering.model_facts import config_of

AUTO = "auto"  # OpenVINO where it can, else torch
TORCH = "torch"
OPENVINO = "openvino"  # the package's name too
BACKENDS = (AUTO, TORCH, OPENVINO)
_UNET = "UNet2DConditionModel"
_OUTSIDE = frozenset({"guidance_start", "guidance_stop"})  # lossy settings that act outside of the UNet


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
