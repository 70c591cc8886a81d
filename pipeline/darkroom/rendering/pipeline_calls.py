"""What goes into a pipeline's call, and pictures out of what returns: of every pipeline that is given prompts as text,
and of those that are given noise and embeddings.

What an argument means to a class is a fact of `families.py`; of the former nothing here depends on the class. Latents
are drawn as each image's noise, decoded to pixels, and checked for values that half precision cannot hold.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ARGUMENTS, Sampling
from darkroom.rendering.conditioning import RowScales
from darkroom.rendering.family import Family, Guidance, Latents, Text, Tokens, Wording
from darkroom.rendering.inspected_model import text_tokenizer

_QUOTES = re.compile(r"'.*?'|\".*?\"|‘.*?’|“.*?”")  # as diffusers' `extract_glyph_text` finds quoted words


# Of prompts ----------------------------------------------------------------------------------------------------------


def call_arguments(family: Family, requests: Sequence[ImageRequest], device: torch.device) -> dict[str, Any]:
    """Keyword arguments of a call for requests that share a `batch_key`; their generators on the CPU."""
    sampling = requests[0].sampling
    negatives = _negative_prompts(family, requests)
    arguments = {**_settings(family, sampling), **family.arguments, **_for_steps(family, sampling.num_inference_steps)}
    arguments |= {} if negatives is None else {"negative_prompt": negatives}
    arguments |= {family.fps_argument: sampling.fps} if family.fps_argument else {}
    if family.guider is None and (family.is_proved or family.guidance is not Guidance.NONE):
        arguments[family.guidance_argument] = _scale(family, requests, device)
    return {
        "prompt": [request.read_prompt.text for request in requests],
        "generator": _generators(requests, family.doubled_generators and negatives is not None),
        "output_type": "pt",
        **arguments,
    }


def set_guiders(pipe: Any, scale: float) -> None:
    """Have the pipeline's guiders, components that guide, do so by this scale; those that have it stay as they are."""
    for name, part in pipe.components.items():
        if name.endswith("guider") and part is not None and part.guidance_scale != scale:
            setattr(pipe, name, part.new(guidance_scale=scale))


def _settings(family: Family, sampling: Sampling) -> dict[str, Any]:
    """What the call takes by the setting's own name; guidance has a name of each class."""
    values = {each.name: getattr(sampling, each.name) for each in ARGUMENTS if each.name != "guidance_scale"}
    return {each.name: values[each.name] for each in ARGUMENTS if each.name in values and _is_given(each, values)}


def _is_given(setting: Any, values: Mapping[str, Any]) -> bool:
    return bool(setting.does_something(values[setting.name]))


def _for_steps(family: Family, num_inference_steps: int) -> dict[str, Any]:
    """An argument whose default is meant for one number of steps is None at others."""
    if family.only_at_steps is None or family.only_at_steps[0] == num_inference_steps:
        return {}
    return {family.only_at_steps[1]: None}


def is_guided(family: Family, sampling: Sampling) -> bool:
    """Whether a negative prompt acts."""
    return family.guidance is Guidance.BRANCHES and sampling.guidance_scale > family.unguided


def _scale(family: Family, requests: Sequence[ImageRequest], device: torch.device) -> float:
    """The batch's one scale, or one for each image."""
    scales = [request.sampling.guidance_scale for request in requests]
    if family.mixes_guidance and len(set(scales)) > 1:
        return RowScales(scales, device)
    return scales[0]


def _negative_prompts(family: Family, requests: Sequence[ImageRequest]) -> list[str] | None:
    """One for each image; None where they do nothing, or all are empty and the class has an idea of its own."""
    if not (family.takes_negative_prompt and is_guided(family, requests[0].sampling)):
        return None
    given = [request.read_negative_prompt.text for request in requests]
    if not any(given) and family.no_negative_prompt is None:
        return None
    return [negative or family.no_negative_prompt or "" for negative in given]


def _generators(requests: Sequence[ImageRequest], are_doubled: bool) -> list[torch.Generator]:
    """One for each row of noise; negative prompts that are rows of their own come after the prompts."""
    seeds = [request.seed for request in requests]
    return [torch.Generator().manual_seed(seed) for seed in (seeds * 2 if are_doubled else seeds)]


def pictures(family: Family, output: Any) -> torch.Tensor:
    """What a call returned as (N, 3, H, W) float32 in [-1, 1], of videos (N, F, 3, H, W)."""
    found = getattr(output, family.output).float()
    return found if family.lowest == -1 else found * 2 - 1


# Prompts that may share a call ---------------------------------------------------------------------------------------


def text_groups(family: Family, pipe: Any, prompts: Sequence[str]) -> Iterator[list[int]]:
    """Places of prompts that may share a call without a trace of one another, in order of first appearance."""
    groups: dict[object, list[int]] = {}
    for place, prompt in enumerate(prompts):
        groups.setdefault(_text_key(family, pipe, prompt), []).append(place)
    yield from groups.values()


def _text_key(family: Family, pipe: Any, prompt: str) -> object:
    if family.text is Text.QUOTED:
        return bool(_QUOTES.search(prompt))
    if family.text is Text.RAGGED:
        tokens = tokens_of(family, pipe.components)
        assert tokens is not None  # by the table: ragged text has a tokenizer
        unit = family.text_unit if text_tokenizer(getattr(pipe, tokens.name)).padding_side == "left" else 1
        return -(-_num_tokens(pipe, tokens, prompt) // unit)
    return None


def tokens_of(family: Family, components: Mapping[str, Any]) -> Tokens | None:
    """The tokenizer that reads most of a prompt, of those that the model has."""
    return next((tokens for tokens in family.tokens if components.get(tokens.name) is not None), None)


def _num_tokens(pipe: Any, tokens: Tokens, prompt: str) -> int:
    tokenizer = text_tokenizer(getattr(pipe, tokens.name))
    words = tokens.before + _worded(pipe, tokenizer, tokens.wording, prompt)
    return len(tokenizer(words, truncation=False, verbose=False).input_ids)


def _worded(pipe: Any, tokenizer: Any, wording: Wording, prompt: str) -> str:
    if wording is Wording.PLAIN:
        return prompt
    if wording is Wording.CHAT:
        messages = [{"role": "user", "content": prompt}]
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    return str(getattr(pipe, wording.value).format(prompt))


# Of noise and embeddings ---------------------------------------------------------------------------------------------


def draw_noise(pipe: Any, generators: Sequence[torch.Generator], height: int, width: int) -> torch.Tensor:
    """(N, C, h, w) noise for images of this size in pixels, in the UNet's dtype on its device.

    Drawn in float32 on the CPU, by a generator for each image: the same on every device and in every batch.
    """
    scale = pipe.vae_scale_factor
    shape = (pipe.unet.config.in_channels, height // scale, width // scale)
    noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
    return noise.to(pipe._execution_device, pipe.unet.dtype)


def decode_latents(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) latents as a pipeline returns them to (N, 3, H, W) float32 in [-1, 1]; NaN where it overflowed.

    Decoded in the VAE's dtype; an image that was not finite is replaced by its float32 decoding. Its neighbours stay as
    they are, so that no image depends on another.
    """
    decoded = _decode(vae, _unscaled(vae, latents)).float()
    if vae.dtype == torch.float32 or torch.isfinite(decoded).all():
        return decoded
    dtype = vae.dtype
    vae.to(torch.float32)
    try:
        exact = _decode(vae, _unscaled(vae, latents.float()))
    finally:
        vae.to(dtype)
    is_finite = torch.isfinite(decoded).flatten(1).all(1)
    return torch.where(is_finite.view(-1, 1, 1, 1), decoded, exact)


def unpacker(pipe: Any, family: Family, height: int, width: int) -> Callable[[torch.Tensor], torch.Tensor]:
    """Latents as a step has them -> (N, C, h, w), of images of this size."""
    if family.latents is Latents.PACKED:
        return lambda latents: pipe._unpack_latents(latents, height, width, pipe.vae_scale_factor)
    return lambda latents: latents


def to_pixels(decoded: torch.Tensor) -> torch.Tensor:
    """(N, ..., 3, H, W) float32 in [-1, 1] to (N, ..., H, W, 3) uint8, on the same device: a quarter of the bytes to
    copy."""
    return ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).movedim(-3, -1).contiguous()


def faults(decoded: torch.Tensor) -> list[str | None]:
    """Why each decoded image, of (N, ..., 3, H, W), cannot be used; None where it can."""
    flat = decoded.flatten(1)
    are_finite, are_black = torch.isfinite(flat).all(1).tolist(), (flat.amax(1) <= -1).tolist()
    return [_fault(*image) for image in zip(are_finite, are_black, strict=True)]


def _fault(is_finite: bool, is_black: bool) -> str | None:
    if not is_finite:
        return "the decoded image has NaN or infinite values, also in float32"
    return "every pixel is black" if is_black else None


def _decode(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    return vae.decode(latents.to(vae.dtype), return_dict=False)[0]


def _unscaled(vae: Any, latents: torch.Tensor) -> torch.Tensor:
    """Latents as the decoder takes them, by the mean and standard deviation, or the factor, of the VAE's config."""
    config = vae.config
    mean, std = getattr(config, "latents_mean", None), getattr(config, "latents_std", None)
    if mean is not None and std is not None:
        mean, std = (torch.tensor(value).view(1, -1, 1, 1).to(latents) for value in (mean, std))
        return latents * std / config.scaling_factor + mean
    return latents / config.scaling_factor + (getattr(config, "shift_factor", None) or 0.0)
