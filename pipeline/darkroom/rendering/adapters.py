"""LoRAs of a loaded pipeline: loaded beside its own weights, which stay as they are, and switched between calls.

They are never fused into the weights: adding and taking away again leaves other low bits.
"""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from darkroom.domain.adapters import LORAS, Active
from darkroom.domain.errors import DarkroomError
from darkroom.rendering.part_files import PartFile, weights_file

_MISFITS = (RuntimeError, ValueError, KeyError, AttributeError, TypeError, IndexError)  # as libraries report them


def load_loras(pipe: Any, files: Sequence[PartFile]) -> None:
    """Load the LoRAs among these parts, inactive. Raises DarkroomError for one that does not fit as a whole."""
    for file in files:
        if file.part.kind == LORAS:
            _load_lora(pipe, file)
    for layer in lora_layers(pipe):
        base = layer.get_base_layer()
        dtype = getattr(base, "compute_dtype", None) or base.weight.dtype  # quantized weights are stored in another
        for name in layer.adapter_layer_names:
            getattr(layer, name).to(base.weight.device, dtype)
    LoraSwitch(pipe).use(())


def _load_lora(pipe: Any, file: PartFile) -> None:
    place, name = weights_file(file.path, file.label), _adapter_name(file.part.revision)
    try:
        found = pipe.lora_state_dict(str(place.parent), weight_name=place.name, use_safetensors=True)
        tensors = found[0] if isinstance(found, tuple) else found
        with warnings.catch_warnings(action="ignore"):  # that there are several LoRAs
            pipe.load_lora_weights(str(place.parent), weight_name=place.name, use_safetensors=True, adapter_name=name)
    except _MISFITS as error:
        reason = " ".join(str(error).split())[:200]
        raise _misfit(file, pipe, reason) from error
    num_loaded = sum(1 for layer in lora_layers(pipe) for _ in _tensors(layer, name))
    num_given = sum(not key.endswith("alpha") for key in tensors)
    if num_loaded < num_given:
        raise _misfit(file, pipe, f"{num_given - num_loaded} of its {num_given} tensors belong to no layer")


def _misfit(file: PartFile, pipe: Any, reason: str) -> DarkroomError:
    return DarkroomError(
        f"{file.label} does not fit {type(pipe).__name__} ({reason}); give a LoRA that was made for this model"
    )


def _adapter_name(revision: str) -> str:
    """peft names submodules by it, so that it has no dot."""
    return f"lora_{revision.removeprefix('sha256:')[:16]}"


def _tensors(layer: Any, adapter: str) -> Iterator[Any]:
    """A layer's weights of one LoRA, biases included."""
    for name in layer.adapter_layer_names:
        held = getattr(layer, name)
        if adapter in held:
            yield from held[adapter].parameters() if isinstance(held[adapter], nn.Module) else (held[adapter],)


def lora_layers(pipe: Any) -> list[Any]:
    """Layers of all components that have a LoRA."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    parts = [part for part in pipe.components.values() if isinstance(part, nn.Module)]
    return [layer for part in parts for layer in part.modules() if isinstance(layer, BaseTunerLayer)]


class LoraSwitch:
    """Chooses which LoRAs the next calls are made with, and how strongly."""

    def __init__(self, pipe: Any) -> None:
        """After all of them are loaded."""
        self._layers = lora_layers(pipe)
        of_denoiser = {id(layer) for name in ("unet", "transformer") for layer in _layers_in(getattr(pipe, name, None))}
        self._of_text = [layer for layer in self._layers if id(layer) not in of_denoiser]
        self._used: Active | None = None

    def use(self, active: Active) -> None:
        """Without any, the layers compute what they compute in a pipeline that has none, bit by bit."""
        if active == self._used:
            return
        names = [_adapter_name(revision) for revision, _ in active]
        for layer in self._layers:
            layer.enable_adapters(any(next(_tensors(layer, name), None) is not None for name in names))
            layer.set_adapter(names, inference_mode=True)
            for name, (_, weight) in zip(names, active, strict=True):
                layer.set_scale(name, weight)
        self._used = active

    def text_state(self, active: Active) -> Active:
        """Those that change embeddings of text."""
        return tuple(
            (revision, weight)
            for revision, weight in active
            if any(next(_tensors(layer, _adapter_name(revision)), None) is not None for layer in self._of_text)
        )


def _layers_in(module: Any) -> Iterator[Any]:
    return module.modules() if isinstance(module, torch.nn.Module) else iter(())
