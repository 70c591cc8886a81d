"""What conditions a call of a Stable Diffusion pipeline: text embeddings, and guidance with a scale for each image.

Works through what diffusers' pipelines offer: they take embeddings in place of prompts, multiply by their
`guidance_scale`, read it anew in every step, and let a callback change it and the text between two steps.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from darkroom.domain.adapters import Active
from darkroom.domain.prompt_syntax import ReadPrompt
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.adapters import LoraSwitch
from darkroom.rendering.encoded_prompts import weighted

Embedding = tuple[torch.Tensor, ...]  # one (tokens, width) tensor, and for SDXL a pooled (width,) one
Encode = Callable[[list[str], int], Embedding]  # of prompts, without so many of the encoders' last layers
_MAX_CACHED = 4096  # prompts: at SDXL's 0.3 MB each in half precision, about a gigabyte
_NEGATIVE_OF = {"prompt_embeds": "negative_prompt_embeds", "add_text_embeds": "negative_pooled_prompt_embeds"}


def conditioning_arguments(
    pipe: Any, cache: "TextCache", requests: Sequence[ImageRequest], takes_guidance: bool
) -> dict[str, Any]:
    """Keyword arguments of a call for requests that share a `batch_key(mixes_guidance=True)`: text and guidance.

    Guidance scales and negative prompts may differ from image to image. Nothing but text is given where the images are
    not guided, or where the pipeline does not guide by two branches (`takes_guidance`).
    """
    sampling, is_guided = requests[0].sampling, requests[0].sampling.is_guided and takes_guidance
    arguments: dict[str, Any] = _by_loras(pipe, cache, requests, is_guided)
    if not is_guided:
        return arguments
    scales = RowScales([request.sampling.guidance_scale for request in requests], pipe._execution_device)
    arguments["guidance_scale"] = scales
    if sampling.is_partly_guided:
        arguments |= _interval_arguments(pipe, sampling, scales, arguments)
    return arguments


def _by_loras(pipe: Any, cache: "TextCache", requests: Sequence[ImageRequest], is_guided: bool) -> dict[str, Any]:
    """Text arguments of requests, encoded together where the same LoRAs change their text."""
    groups: dict[Active, list[int]] = {}
    for place, request in enumerate(requests):
        groups.setdefault(cache.text_state(request.adapters), []).append(place)
    rows: dict[int, dict[str, torch.Tensor]] = {}
    for state, places in groups.items():
        cache.use(state)
        found = _text_of(pipe, cache, [requests[place] for place in places], is_guided)
        rows |= {place: {name: part[row] for name, part in found.items()} for row, place in enumerate(places)}
    return {name: torch.stack([rows[place][name] for place in range(len(rows))]) for name in rows[0]}


def _text_of(
    pipe: Any, cache: "TextCache", requests: Sequence[ImageRequest], is_guided: bool
) -> dict[str, torch.Tensor]:
    prompts = [request.read_prompt for request in requests]
    negatives = [request.read_negative_prompt for request in requests] if is_guided else None
    return text_arguments(pipe, cache, prompts, negatives, requests[0].sampling.clip_skip)


def _interval_arguments(
    pipe: Any, sampling: Sampling, scales: "RowScales", arguments: Mapping[str, Any]
) -> dict[str, Any]:
    """Arguments to add or to replace where guidance acts in some of the steps only."""
    supported = pipe._callback_tensor_inputs
    negatives = {name: arguments[argument] for name, argument in _NEGATIVE_OF.items() if name in supported}
    steps = GuidedSteps(sampling, scales, negatives)
    return {
        "guidance_scale": steps.first_scale,
        "callback_on_step_end": steps,
        "callback_on_step_end_tensor_inputs": [name for name in steps.tensors if name in supported],
    }


# Text ---------------------------------------------------------------------------------------------------------------


class TextCache:
    """prompt -> embedding, least recently used first out. A sweep's cells share it, and a prompt is encoded once.

    Prompts are encoded in one fixed batch shape, so that an embedding does not depend on which prompts came with it.
    """

    def __init__(self, pipe: Any, batch_size: int, loras: LoraSwitch | None = None) -> None:
        self._encode = ENCODERS[type(pipe).__name__][0](pipe)
        self._batch_size = batch_size
        self._cached: OrderedDict[tuple[str, Active, int], Embedding] = OrderedDict()
        self._switch = loras
        self._loras: Active = ()  # that the text encoders compute with now

    def text_state(self, active: Active) -> Active:
        """Those of these LoRAs that change text."""
        return self._switch.text_state(active) if self._switch else ()

    def use(self, state: Active) -> None:
        """Encode with these LoRAs from now on."""
        if self._switch:
            self._switch.use_in_text(state)
        self._loras = state

    def stacked(self, prompts: Sequence[str], skip: int = 0) -> Embedding:
        """The prompts' embeddings along a new first axis: (N, tokens, width), and for SDXL a pooled (N, width)."""
        keys = [(prompt, self._loras, skip) for prompt in prompts]
        missing = [prompt for prompt, *_ in dict.fromkeys(key for key in keys if key not in self._cached)]
        for start in range(0, len(missing), self._batch_size):
            self._add(missing[start : start + self._batch_size], skip)
        rows = [self._cached[key] for key in keys]
        for key in keys:
            self._cached.move_to_end(key)
        while len(self._cached) > max(_MAX_CACHED, self._batch_size):
            self._cached.popitem(last=False)
        return tuple(torch.stack(parts) for parts in zip(*rows, strict=True))

    def clear(self) -> None:
        self._cached.clear()

    def _add(self, prompts: list[str], skip: int) -> None:
        padded = prompts + prompts[-1:] * (self._batch_size - len(prompts))
        parts = self._encode(padded, skip)
        for index, prompt in enumerate(prompts):
            self._cached[prompt, self._loras, skip] = tuple(part[index] for part in parts)


def _encode_sd(pipe: Any) -> Encode:
    return lambda prompts, skip: (
        pipe.encode_prompt(prompts, pipe._execution_device, 1, False, clip_skip=skip or None)[0],
    )


def _encode_sdxl(pipe: Any) -> Encode:
    def encode(prompts: list[str], skip: int) -> Embedding:
        embeds, _, pooled, _ = pipe.encode_prompt(
            prompts,
            device=pipe._execution_device,
            num_images_per_prompt=1,
            do_classifier_free_guidance=False,
            clip_skip=skip or None,
        )
        return embeds, pooled

    return encode


# Pipeline class -> (how it encodes, the parts' names in its call). Other pipelines are given prompts as text.
ENCODERS: Mapping[str, tuple[Callable[[Any], Encode], tuple[str, ...]]] = {
    "StableDiffusionPipeline": (_encode_sd, ("prompt_embeds",)),
    "StableDiffusionXLPipeline": (_encode_sdxl, ("prompt_embeds", "pooled_prompt_embeds")),
    "StableDiffusionXLImg2ImgPipeline": (_encode_sdxl, ("prompt_embeds", "pooled_prompt_embeds")),  # as a refiner
}


def text_arguments(
    pipe: Any,
    cache: TextCache,
    prompts: Sequence[ReadPrompt],
    negative_prompts: Sequence[ReadPrompt] | None,
    skip: int,
) -> dict[str, torch.Tensor]:
    """Keyword arguments of a pipeline's call that replace its prompts; no negative ones without guidance.

    `skip`: layers that are left out for prompts. Diffusers computes negative prompts with all of them.
    """
    names = ENCODERS[type(pipe).__name__][1]
    arguments = dict(zip(names, _stacked(pipe, cache, prompts, skip), strict=True))
    if negative_prompts is not None:
        negatives = _negatives(pipe, cache, prompts, negative_prompts, skip)
        arguments |= {f"negative_{name}": part for name, part in zip(names, negatives, strict=True)}
    return arguments


def _stacked(pipe: Any, cache: TextCache, prompts: Sequence[ReadPrompt], skip: int = 0) -> Embedding:
    """The prompts' embeddings with their weights, (N, tokens, width), and for SDXL the pooled ones, (N, width)."""
    embeds, *pooled = cache.stacked([prompt.text for prompt in prompts], skip)
    if any(prompt.is_weighted for prompt in prompts):
        embeds = weighted(pipe, embeds, cache.stacked([""], skip)[0][0], prompts)
    return embeds, *pooled


def _negatives(
    pipe: Any,
    cache: TextCache,
    prompts: Sequence[ReadPrompt],
    negative_prompts: Sequence[ReadPrompt],
    skip: int,
) -> Embedding:
    """Embeddings of the negative prompts; zeros for empty ones where the pipeline wants that, as SDXL's does."""
    if not getattr(pipe.config, "force_zeros_for_empty_prompt", False):
        return _stacked(pipe, cache, negative_prompts)
    is_empty = torch.tensor([not negative.text for negative in negative_prompts])
    if is_empty.all():
        return tuple(torch.zeros_like(part) for part in _stacked(pipe, cache, prompts, skip))
    # The prompt, which is cached where no layer is skipped, fills the rows that become zeros.
    filled = [negative if negative.text else prompt for negative, prompt in zip(negative_prompts, prompts, strict=True)]
    parts = _stacked(pipe, cache, filled)
    for part in parts:
        part[is_empty] = 0
    return parts


# Guidance -----------------------------------------------------------------------------------------------------------


class RowScales(float):
    """A guidance scale for each image, where a pipeline expects one number; compares as the smallest of them."""

    rows: torch.Tensor  # (N,) float32

    def __new__(cls, scales: Sequence[float], device: torch.device) -> "RowScales":
        self = super().__new__(cls, min(scales))
        self.rows = torch.tensor(scales, dtype=torch.float32, device=device)
        return self

    def __mul__(self, prediction: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        """(N, ...) predictions, each times its scale: in float32, as torch multiplies by a Python number."""
        column = self.rows.view(-1, *[1] * (prediction.ndim - 1))
        return (column * prediction.float()).to(prediction.dtype)


class GuidedSteps:
    """A step-end callback that turns guidance, and the unguided rows of the batch with it, on and off.

    "Applying Guidance in a Limited Interval Improves Sample and Distribution Quality in Diffusion Models"
    (Kynkäänniemi et al. 2024), with the interval in fractions of the steps.
    """

    tensors = ("prompt_embeds", "add_text_embeds", "add_time_ids")  # that have a row for every row of the batch

    def __init__(self, sampling: Sampling, scales: RowScales, negatives: Mapping[str, torch.Tensor]) -> None:
        """`negatives`: name of a tensor -> its unguided rows, (N, ...) each."""
        self._sampling = sampling
        self._scales = scales
        self._negatives = negatives
        self._is_on = self.first_scale > 1

    @property
    def first_scale(self) -> float:
        """The `guidance_scale` to call the pipeline with."""
        return self._scales if self._sampling.guidance_start == 0 else 1.0

    def __call__(
        self, pipe: Any, step: int, _timestep: Any, tensors: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        fraction = (step + 1) / pipe.num_timesteps
        is_on = self._sampling.guidance_start <= fraction < self._sampling.guidance_stop
        if is_on == self._is_on:
            return {}
        self._is_on = is_on
        pipe._guidance_scale = self._scales if is_on else 1.0
        return {name: self._doubled(name, rows) if is_on else rows.chunk(2)[1] for name, rows in tensors.items()}

    def _doubled(self, name: str, rows: torch.Tensor) -> torch.Tensor:
        """Unguided rows first, as the pipelines order them; sizes and crops (`add_time_ids`) are the same for both."""
        return torch.cat([self._negatives.get(name, rows), rows])
