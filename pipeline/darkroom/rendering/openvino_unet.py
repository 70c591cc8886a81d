"""A UNet2DConditionModel whose calls are computed by OpenVINO, with the work that they share (see unet_reuse.py).

What both branches of guidance share is in the compiled graph, which is given keys and values of the text: they are
computed by torch once for all steps. Pixels stay equal up to the order of sums. Calls under settings that change layers
for a while, such as FreeU and cached features, are torch's own.
"""

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionOutput

from darkroom.domain.settings import Sampling
from darkroom.rendering.backends import torch_settings
from darkroom.rendering.openvino_graphs import CompiledCall, Compiler
from darkroom.rendering.unet_reuse import SharedWork, text_layers

_MOST_HELD_BYTES = 2 << 30  # of compiled calls, each of which has the UNet's weights in layouts of its own ...
_LEAST_HELD = 2  # ... but always those with guidance and without
_OPTIONAL = ("timestep_cond", "text_embeds", "time_ids")  # inputs of some UNets: the last two in added_cond_kwargs

Inputs = dict[str, torch.Tensor]  # of one call, by their names


class OpenVinoUnet:
    """Takes the place of a UNet's `forward`, inside `during` only."""

    def __init__(self, unet: Any, name: str, num_threads: int) -> None:
        """`name`: of its weights."""
        self._by_torch = unet.requires_grad_(False).forward
        self._shared = SharedWork(unet)
        self._text_layers = text_layers(unet) if unet.encoder_hid_proj is None else []  # else they see another text
        num_bytes = sum(each.nbytes for each in unet.parameters())
        self._compiler = Compiler(name, num_bytes, num_threads)
        self._most_held = max(_LEAST_HELD, _MOST_HELD_BYTES // num_bytes)
        self._calls: OrderedDict[object, CompiledCall] = OrderedDict()  # by inputs' shapes, least recently used first
        self._num_images = 0
        unet.forward = self._forward

    @contextmanager
    def during(self, sampling: Sampling, num_images: int) -> Iterator[None]:
        """Inside, calls are computed by OpenVINO, unless a setting changes layers for them."""
        self._num_images = 0 if torch_settings(sampling) else num_images
        try:
            with self._shared.during(num_images):
                yield
        finally:
            self._num_images = 0

    def _forward(self, sample: torch.Tensor, timestep: Any, encoder_hidden_states: torch.Tensor, **given: Any) -> Any:
        inputs = self._inputs(sample, timestep, encoder_hidden_states, given) if self._num_images else None
        if inputs is None:
            return self._by_torch(sample, timestep, encoder_hidden_states, **given)
        found = self._call(inputs)(list(inputs.values()))
        return UNet2DConditionOutput(sample=found) if given.get("return_dict", True) else (found,)

    def _inputs(
        self, sample: torch.Tensor, timestep: Any, text: torch.Tensor, given: Mapping[str, Any]
    ) -> Inputs | None:
        """None of a call that has others, or a time for each row."""
        others = {name: value for name, value in given.items() if value is not None and name != "return_dict"}
        others |= others.pop("added_cond_kwargs", {})
        time = torch.as_tensor(timestep, dtype=torch.float32)
        if others.keys() - {*_OPTIONAL} or time.numel() != 1:
            return None
        inputs = {"sample": sample, "timestep": time.reshape(()), "encoder_hidden_states": text}
        inputs |= {name: others[name].float() for name in _OPTIONAL if name in others}
        return inputs | {f"text {n}": layer.forward(text) for n, layer in enumerate(self._text_layers)}

    def _call(self, inputs: Inputs) -> CompiledCall:
        is_guided = len(inputs["sample"]) == 2 * self._num_images
        key = is_guided, *((name, *value.shape) for name, value in inputs.items())
        if key not in self._calls:
            self._calls[key] = self._compiled(inputs, is_guided)
        self._calls.move_to_end(key)
        while len(self._calls) > self._most_held:
            self._calls.popitem(last=False)
        return self._calls[key]

    def _compiled(self, inputs: Inputs, is_guided: bool) -> CompiledCall:
        """By numbers that say nothing of this call, so that all processes compile and check the same."""
        drawn = {name: _drawn(value, seed) for seed, (name, value) in enumerate(inputs.items())}
        if is_guided:
            drawn["sample"] = drawn["sample"][: self._num_images].repeat(2, 1, 1, 1)
        before = dict(self._shared.projections)
        try:
            return self._compiler.compiled(
                lambda *values: self._answer(dict(zip(inputs, values, strict=True))),
                list(drawn.values()),
                [list(inputs), is_guided],
            )
        finally:
            self._shared.projections.clear()
            self._shared.projections.update(before)

    def _answer(self, inputs: Inputs) -> torch.Tensor:
        """By torch, with the inputs' keys and values of the text."""
        sample, time, text = (inputs.pop(name) for name in ("sample", "timestep", "encoder_hidden_states"))
        added = {name: inputs.pop(name) for name in _OPTIONAL if name in inputs}
        cond = added.pop("timestep_cond", None)
        self._shared.projections.update((number, (text, each)) for number, each in enumerate(inputs.values()))
        found = self._by_torch(
            sample, time, text, timestep_cond=cond, added_cond_kwargs=added or None, return_dict=False
        )
        return found[0]


def _drawn(like: torch.Tensor, seed: int) -> torch.Tensor:
    """Standard normal numbers; as a time, one in the middle."""
    with torch.inference_mode(False):
        if like.ndim == 0:
            return torch.tensor(500.0)
        return torch.randn(like.shape, generator=torch.Generator().manual_seed(seed))
