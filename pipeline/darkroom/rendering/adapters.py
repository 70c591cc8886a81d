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
    LoraSwitch(pipe).use([()])


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
        of_denoiser = {id(layer) for name in ("unet", "transformer") for layer in _layers_in(getattr(pipe, name, None))}
        layers = lora_layers(pipe)
        self._denoiser = _Layers([layer for layer in layers if id(layer) in of_denoiser])
        self._text = _Layers([layer for layer in layers if id(layer) not in of_denoiser])

    def use(self, rows: Sequence[Active]) -> None:
        """Of each image of a call, one for all or in order, where they differ of a model that `mixes`; without any, the
        layers compute what they compute in a pipeline that has none, bit by bit."""
        self._denoiser.use(rows)
        if len(states := {self.text_state(row) for row in rows}) == 1:
            self.use_in_text(states.pop())

    def use_in_text(self, active: Active) -> None:
        """The same of text encoders alone, which encode for one image at a time."""
        self._text.use([active])

    def text_state(self, active: Active) -> Active:
        """Those that change embeddings of text."""
        return tuple((revision, weight) for revision, weight in _ordered(active) if self._text.have(revision))

    def mixes(self, keeps_text: bool) -> bool:
        """Whether the images of a call may have several, exactly. `keeps_text`: text is encoded image by image."""
        return self._denoiser.are_plain and (keeps_text or self._text.are_none)


class _Layers:
    """Layers with LoRAs that are switched together."""

    def __init__(self, layers: Sequence[Any]) -> None:
        self._layers = {layer: _adapters_in(layer) for layer in layers}
        self._adapters = frozenset[str]().union(*self._layers.values())
        self._used: list[Active] | None = None

    @property
    def are_none(self) -> bool:
        return not self._layers

    @property
    def are_plain(self) -> bool:
        """Whether what each LoRA adds to a layer is a product times its weight: not so of DoRA and of others that are
        no LoRAs, and not known of layers whose weights are quantized."""
        from peft.tuners.lora.layer import Conv2d, Linear

        return all(type(layer) in (Conv2d, Linear) and not layer.lora_variant for layer in self._layers)

    def have(self, revision: str) -> bool:
        return _adapter_name(revision) in self._adapters

    def use(self, rows: Sequence[Active]) -> None:
        wanted = [_ordered(row) for row in rows]
        wanted = wanted[:1] if len(set(wanted)) == 1 else wanted
        if wanted == self._used:
            return
        self._used = None  # where this breaks off
        made: dict[tuple[float, ...], RowWeights] = {}  # once for all layers
        revisions = sorted({revision for row in wanted for revision, _ in row})
        weights = {_adapter_name(each): [dict(row).get(each, 0.0) for row in wanted] for each in revisions}
        for layer, adapters in self._layers.items():
            layer.enable_adapters(not adapters.isdisjoint(weights))
            layer.set_adapter(list(weights), inference_mode=True)
            for name in (name for name in weights if name in adapters):
                scales = tuple(_scale(layer, name, weight) for weight in weights[name])
                if len(scales) > 1:
                    layer.scaling[name] = made.setdefault(scales, RowWeights(scales))
        self._used = wanted


class RowWeights:
    """What a LoRA's part of a layer's output is multiplied by, for each image of a call, where peft has one number.

    A call has one block of rows, all images in order, for each branch of guidance. One row is of all images alike
    (`SharedWork`), and becomes one for each.
    """

    def __init__(self, scales: Sequence[float]) -> None:
        self._scales = torch.tensor(scales, dtype=torch.float32)
        self._all_act = all(scales)

    def __rmul__(self, added: torch.Tensor) -> torch.Tensor:
        """(rows, ...), each times its image's scale: in float32, as torch multiplies by a Python number. An image
        without the LoRA is given -0.0, which changes no number that it is added to, bit by bit."""
        num_blocks, left = divmod(len(added), len(self._scales))
        if left and len(added) > 1:
            raise ValueError(f"a layer has {len(added)} rows for {len(self._scales)} images")
        self._scales = self._scales.to(added.device)
        scales = self._scales.repeat(max(num_blocks, 1)).view(-1, *[1] * (added.ndim - 1))
        product = (added.float() * scales).to(added.dtype)
        return product if self._all_act else torch.where(scales != 0, product, -0.0)


def _ordered(active: Active) -> Active:
    """In one order, whatever else a call has: LoRAs are added one after another, which moves low bits."""
    return tuple(sorted(active))


def _scale(layer: Any, name: str, weight: float) -> float:
    """A LoRA's weight with what its file says of its scale in this layer, as the layer has it from now on."""
    layer.set_scale(name, weight)
    return float(layer.scaling[name])


def _adapters_in(layer: Any) -> frozenset[str]:
    return frozenset(name for held in layer.adapter_layer_names for name in getattr(layer, held))


def _layers_in(module: Any) -> Iterator[Any]:
    return module.modules() if isinstance(module, torch.nn.Module) else iter(())
