"""How much memory this machine's device has, how much is taken at most while something runs, and how much a model
takes: its weights by the headers of their files, what a call holds by tracing its shapes.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from darkroom.domain.adapters import VAE
from darkroom.domain.settings import FLOAT8, NONE, Sampling
from darkroom.rendering.backends import OPENVINO, TORCH
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import loads_models
from darkroom.rendering.memory_options import QUANTIZED_PARTS
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.other_parts import denoiser_of, gguf_layer, gguf_of, gguf_tensors
from darkroom.rendering.part_files import PartFile, weights_file
from darkroom.rendering.refiner import ENCODER, refiner_folder, refiner_of, shares_encoder
from darkroom.rendering.stored_tensors import StoredTensor, component_tensors, header

_CGROUP = Path("/sys/fs/cgroup")
_OWN_CGROUP = Path("/proc/self/cgroup")
_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # of the resident memory of this process: see proc(5)
_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, FLOAT8: 2}  # float8 is of some layers alone
_DENOISERS = ("unet", "transformer")
_EMBEDDINGS = ("token_embedding", "position_embedding", "embed_tokens", "shared")  # their weights have two axes too
_SCALE_BYTES = 4  # of each output of a quantized layer

Tensors = Mapping[str, StoredTensor]


# Of the device -------------------------------------------------------------------------------------------------------


@dataclass
class Peak:
    """What is taken at most, in bytes; None where it cannot be told."""

    num_bytes: int | None = None


def total_bytes(device: str) -> int | None:
    """Of the device; of the machine, as far as a container may use it, where models compute there."""
    import torch

    if device == "cuda":
        is_here = torch.cuda.is_available()
        return int(torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory) if is_here else None
    if device == "mps":
        return int(torch.mps.recommended_max_memory())
    limits = filter(None, map(_number, _limit_files()))
    return min((os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), *limits))


def _limit_files() -> Iterator[Path]:
    """Of this process's cgroup and of those that it lies in, of version 2 and of version 1: see cgroups(7)."""
    lines = _OWN_CGROUP.read_text().splitlines() if _OWN_CGROUP.is_file() else []
    paths = {tuple(line.split(":")[1].split(",")): line.split(":", 2)[2].strip("/") for line in lines}
    for controllers, path in {("",): "", ("memory",): "", **paths}.items():
        if controllers != ("",) and "memory" not in controllers:
            continue
        root, name = (_CGROUP, "memory.max") if controllers == ("",) else (_CGROUP / "memory", "memory.limit_in_bytes")
        parts = path.split("/") if path else []
        yield from (root.joinpath(*parts[:depth]) / name for depth in range(len(parts) + 1))


def taken_bytes(device: str) -> int:
    """What is taken of it before a model is loaded: by this process, and of a GPU by whatever uses it."""
    import torch

    if device == "cuda":
        free, total = torch.cuda.mem_get_info()
        return int(total - free)
    return _resident("VmRSS") or 0


@contextmanager
def peak_of(device: str) -> Iterator[Peak]:
    """Measures what runs inside: on a GPU what torch has reserved and all else that is taken, on a CPU under Linux what
    is resident of this process."""
    import torch

    peak = Peak()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        yield peak
        others = taken_bytes(device) - torch.cuda.memory_reserved()
        peak.num_bytes = others + torch.cuda.max_memory_reserved()
        return
    can_tell = device == "cpu" and _reset_peak()
    yield peak
    peak.num_bytes = _resident("VmHWM") if can_tell else None


def _reset_peak() -> bool:
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError:  # another system, or a container that forbids it
        return False
    return True


def _resident(name: str) -> int | None:
    lines = _STATUS.read_text().splitlines() if _STATUS.is_file() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), None)


def _number(file: Path) -> int | None:
    """None for a file that is not there, and for one that says that there is no limit."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


# Of a model ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Held:
    """How a model is held, and how many images a call has: what can be changed where it does not fit."""

    dtype: str
    batch_size: int
    quantization: str = NONE
    vae_tiling: bool = False
    vae_slicing: bool = False
    offload: str = NONE
    backend: str = TORCH


@dataclass(frozen=True)
class CallBytes:
    """What a call holds beside weights, in float32; 0 where it is not known."""

    step: int = 0  # of one image's denoising step
    decoding: int = 0  # of one image
    tile: int = 0  # of one tile; 0 where images are no larger than one
    cached: int = 0  # numbers that `sampling.cache` keeps of one image from step to step
    cached_dtype: str | None = None  # of these; None: the model's


@dataclass(frozen=True)
class ModelMemory:
    """A model's needs, as functions of how it is held."""

    tensors: Mapping[str, Tensors]  # of each component, by their names in its files
    call: CallBytes

    def weights(self, held: Held) -> dict[str, int]:
        """Bytes of each component as it is loaded, and of what OpenVINO makes of the UNet for a call."""
        found = {name: _weight_bytes(name, tensors, held) for name, tensors in self.tensors.items()}
        return found | ({f"unet in {OPENVINO}": found["unet"]} if held.backend == OPENVINO else {})

    def on_device(self, held: Held) -> int:
        """Bytes of weights and of what a call holds, at most at once."""
        weights, (step, decoding) = self.weights(held), self._of_call(held)
        if held.offload == "model":
            calls = {name: step if name.startswith(_DENOISERS) else decoding if name == VAE else 0 for name in weights}
            return max(weights[name] + calls[name] for name in weights)
        if held.offload == "group":  # a layer that computes and the next one; decoders stay
            layers = 2 * self._largest_tensor * _ITEM_BYTES[held.dtype]
            return max(step, decoding) + layers + weights.get(VAE, 0)
        if held.offload == "sequential":
            return max(step, decoding) + self._largest_tensor * _ITEM_BYTES[held.dtype]
        return sum(weights.values()) + max(step, decoding)

    def _of_call(self, held: Held) -> tuple[int, int]:
        """(a step's, decoding's), with what a cache keeps until the call ends."""
        share = _ITEM_BYTES[held.dtype] / _ITEM_BYTES["float32"]
        decoded = self.call.tile if held.vae_tiling and self.call.tile else self.call.decoding
        at_once = 1 if held.vae_slicing else held.batch_size
        cached = self.call.cached * _ITEM_BYTES[self.call.cached_dtype or held.dtype] * held.batch_size
        return int(self.call.step * held.batch_size * share) + cached, int(decoded * at_once * share) + cached

    @cached_property
    def _largest_tensor(self) -> int:
        """Numbers in it."""
        return max(math.prod(each.shape) for tensors in self.tensors.values() for each in tensors.values())


@loads_models
def model_memory(model: InspectedModel, sampling: Sampling | None) -> ModelMemory | None:
    """None where its weights are not on this machine yet, or it has none. Without settings, of weights alone."""
    tensors = stored_weights(model)
    if not tensors:
        return None
    if sampling is None:
        return ModelMemory(tensors, CallBytes())
    from darkroom.rendering.tracing import call_bytes  # with torch

    return ModelMemory(tensors, call_bytes(model, sampling))


# Weights ------------------------------------------------------------------------------------------------------------


def stored_weights(model: InspectedModel) -> dict[str, Tensors] | None:
    """The tensors of each component and of what is added to it; None where files are missing here."""
    if model.folder is None:
        return None
    folder = Path(model.folder)
    found: dict[str, Tensors] = {}
    for place in sorted(each for each in folder.iterdir() if (each / "config.json").is_file()):
        found[place.name] = component_tensors(folder, place.name, model.variant, model.source)
    found = {name: tensors for name, tensors in found.items() if name not in model.absent}
    refiner = refiner_of(model.parts)
    if refiner:
        found |= _refiner_weights(folder, refiner, model.parts)
    gguf = gguf_of(model.parts)
    if gguf:
        name = str(denoiser_of(json.loads((folder / INDEX).read_bytes())))
        found |= {name: gguf_tensors(gguf), f"one layer of the {name} in full": gguf_layer(gguf)}
    for part in [each for each in model.parts if each not in (refiner, gguf)]:
        name = VAE if part.part.kind == VAE else f"{part.part.kind}: {part.part.name}"  # which no component is called
        found[name] = header(weights_file(part.path, part.label, part.part.kind), part.label)
    return found if all(found.values()) else None


def _refiner_weights(model: Path, file: PartFile, parts: Sequence[PartFile]) -> dict[str, Tensors]:
    """Of what a refiner has of its own, by names that begin as the model's do, since they are held alike."""
    folder = refiner_folder(file)
    shared = [VAE, *([ENCODER] if shares_encoder(model, folder, parts) else [])]
    places = [each for each in folder.iterdir() if (each / "config.json").is_file() and each.name not in shared]
    return {
        f"{place.name} of the refiner": component_tensors(folder, place.name, None, file.path)
        for place in sorted(places)
    }


def _weight_bytes(component: str, tensors: Tensors, held: Held) -> int:
    return sum(_tensor_bytes(component, name, tensor, held) for name, tensor in tensors.items())


def _tensor_bytes(component: str, name: str, tensor: StoredTensor, held: Held) -> int:
    """What is no floating-point number stays as it is stored."""
    if not tensor.dtype.startswith(("F", "BF")):
        return tensor.end - tensor.begin
    is_linear = len(tensor.shape) == 2 and name.endswith(".weight") and not any(each in name for each in _EMBEDDINGS)
    parts = QUANTIZED_PARTS if held.quantization != NONE else _DENOISERS if held.dtype == FLOAT8 else ()
    if is_linear and parts and component.startswith(parts):
        return math.prod(tensor.shape) + _SCALE_BYTES * tensor.shape[0]
    return math.prod(tensor.shape) * _ITEM_BYTES[held.dtype]
