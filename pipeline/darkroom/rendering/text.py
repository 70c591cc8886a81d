"""Text embeddings, each prompt's once: what a sweep's cells share, and what keeps a worker's device free.

Prompts are encoded in one fixed batch shape, so that an embedding does not depend on which prompts came with it.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

Embedding = tuple[torch.Tensor, ...]  # one (tokens, width) tensor, and for SDXL a pooled (width,) one
_MAX_CACHED = 4096  # prompts: at SDXL's 0.3 MB each in half precision, about a gigabyte


class TextCache:
    """prompt -> embedding, least recently used first out."""

    def __init__(self, encode: Callable[[list[str]], Embedding], batch_size: int) -> None:
        self._encode = encode
        self._batch_size = batch_size
        self._cached: OrderedDict[str, Embedding] = OrderedDict()

    def stacked(self, prompts: Sequence[str]) -> Embedding:
        """The prompts' embeddings along a new first axis."""
        missing = list(dict.fromkeys(prompt for prompt in prompts if prompt not in self._cached))
        for start in range(0, len(missing), self._batch_size):
            self._add(missing[start : start + self._batch_size])
        rows = [self._cached[prompt] for prompt in prompts]
        for prompt in prompts:
            self._cached.move_to_end(prompt)
        while len(self._cached) > max(_MAX_CACHED, self._batch_size):
            self._cached.popitem(last=False)
        return tuple(torch.stack(parts) for parts in zip(*rows, strict=True))

    def _add(self, prompts: list[str]) -> None:
        padded = prompts + prompts[-1:] * (self._batch_size - len(prompts))
        parts = self._encode(padded)
        for index, prompt in enumerate(prompts):
            self._cached[prompt] = tuple(part[index] for part in parts)


def _encode_sd(pipe: Any) -> Callable[[list[str]], Embedding]:
    return lambda prompts: (pipe.encode_prompt(prompts, pipe.device, 1, False)[0],)


def _encode_sdxl(pipe: Any) -> Callable[[list[str]], Embedding]:
    def encode(prompts: list[str]) -> Embedding:
        embeds, _, pooled, _ = pipe.encode_prompt(
            prompts, device=pipe.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return embeds, pooled

    return encode


# Pipeline class -> (how it encodes, what its call names the parts). Other pipelines are given prompts as text.
ENCODERS: Mapping[str, tuple[Callable[[Any], Callable[[list[str]], Embedding]], tuple[str, ...]]] = {
    "StableDiffusionPipeline": (_encode_sd, ("prompt_embeds",)),
    "StableDiffusionXLPipeline": (_encode_sdxl, ("prompt_embeds", "pooled_prompt_embeds")),
}


def text_arguments(
    pipe: Any, cache: TextCache, prompts: Sequence[str], negative_prompts: Sequence[str] | None
) -> dict[str, torch.Tensor]:
    """Keyword arguments of a pipeline's call that stand for its prompts; no negative ones without guidance."""
    names = ENCODERS[type(pipe).__name__][1]
    arguments = dict(zip(names, cache.stacked(prompts), strict=True))
    if negative_prompts is not None:
        negatives = _negatives(pipe, cache, prompts, negative_prompts)
        arguments |= {f"negative_{name}": part for name, part in zip(names, negatives, strict=True)}
    return arguments


def _negatives(pipe: Any, cache: TextCache, prompts: Sequence[str], negative_prompts: Sequence[str]) -> Embedding:
    """Of SDXL's kind of pipelines, zeros where there is none."""
    if not getattr(pipe.config, "force_zeros_for_empty_prompt", False):
        return cache.stacked(negative_prompts)
    # The prompt, which is at hand, holds the place of what becomes zeros.
    parts = cache.stacked([negative or prompt for negative, prompt in zip(negative_prompts, prompts, strict=True)])
    for part in parts:
        part[torch.tensor([not negative for negative in negative_prompts])] = 0
    return parts
