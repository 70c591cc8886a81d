"""Renders with any diffusers text-to-image pipeline, always in one batch shape.

Short batches are padded and the padding thrown away, so that an image's bytes depend neither on its neighbours nor on
where a shard ends, and a compiled model is compiled once.
"""

import inspect
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from darkroom.domain.errors import DarkroomError
from darkroom.domain.requests import ImageRequest
from darkroom.domain.settings import ARGUMENTS, Sampling
from darkroom.domain.spans import OFF, Profile
from darkroom.rendering.decode import decode_latents, to_pixels, troubles
from darkroom.rendering.guidance import GuidedSteps, RowScales
from darkroom.rendering.inspection import count_tokens
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RenderedImage, RendererInfo, explained
from darkroom.rendering.schedulers import build_scheduler
from darkroom.rendering.shared_work import sharing
from darkroom.rendering.spec import RendererSpec
from darkroom.rendering.step_cache import StepCache
from darkroom.rendering.text import ENCODERS, TextCache, text_arguments

_SUCCESSES_BEFORE_GROWING = 16  # calls at a halved batch before the full one is tried again


def load_diffusers(spec: RendererSpec, profile: Profile = OFF) -> "DiffusersRenderer":
    """Load a pipeline, and what renders with it."""
    return DiffusersRenderer(load_pipeline(spec), spec, profile)


class DiffusersRenderer:
    """One loaded pipeline. Schedulers change from call to call; the model and the text embeddings stay."""

    def __init__(self, pipe: Any, spec: RendererSpec, profile: Profile = OFF) -> None:
        self._pipe = pipe
        self._profile = profile
        self._own_scheduler = pipe.scheduler
        self._class_name = type(pipe).__name__
        self._parameters = inspect.signature(type(pipe).__call__).parameters
        self._fitting_size = spec.batch_size  # halved when memory runs out
        self._successes = 0
        self._text = None
        if self._class_name in ENCODERS:
            self._shared_of = sharing(pipe.unet, spec)
            self._step_cache = StepCache(getattr(pipe.unet, "_orig_mod", pipe.unet))
            self._text = TextCache(ENCODERS[self._class_name][0](pipe), spec.batch_size)
        self._limit = spec.model.max_prompt_tokens
        self._is_steered = self._text is not None and not spec.model.is_distilled  # by guidance of two branches
        dtype = spec.model.identity.dtype
        self.info = RendererInfo(
            device_name(spec),
            dtype,
            spec.batch_size,
            versions(),
            spec.compile,
            self._is_steered,
            _device_id(spec.device),
            keeps_size=self._text is not None,  # others round sizes, or choose among some
        )

    @torch.inference_mode()
    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        """Render 1 to batch_size requests that share a `batch_key(info.mixes_guidance)`."""
        assert 1 <= len(requests) <= self.info.batch_size
        truncated = self._truncated([request.prompt for request in requests])
        images: list[RenderedImage] = []
        while len(images) < len(requests):
            start, size = len(images), self._fitting_size
            images += self._part(requests[start : start + size], truncated[start : start + size], size)
        return images

    def _part(self, requests: Sequence[ImageRequest], truncated: list[bool], size: int) -> list[RenderedImage]:
        """One call of the model; nothing when memory ran out and a smaller batch is to be tried."""
        try:
            images = self._images(self._call([*requests, *[requests[-1]] * (size - len(requests))]))
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise explained(error) from error
            return self._halve(requests, truncated)
        self._succeeded()
        return [
            RenderedImage(pixels, cut, error, size) for (pixels, error), cut in zip(images, truncated, strict=False)
        ]

    def _halve(self, requests: Sequence[ImageRequest], truncated: list[bool]) -> list[RenderedImage]:
        _free_memory()
        if self._fitting_size > 1:
            self._fitting_size //= 2
            self._successes = 0
            return []
        return [
            RenderedImage(None, cut, "out of memory, even alone in its batch") for cut in truncated[: len(requests)]
        ]

    def _succeeded(self) -> None:
        self._successes += 1
        if self._fitting_size < self.info.batch_size and self._successes >= _SUCCESSES_BEFORE_GROWING:
            self._fitting_size = min(2 * self._fitting_size, self.info.batch_size)
            self._successes = 0

    def _images(self, decoded: torch.Tensor) -> list[tuple[np.ndarray | None, str | None]]:
        """Pixels, (H, W, 3) uint8, or the reason why there are none, of each decoded image."""
        with self._stage("copy"):
            errors, pixels = troubles(decoded), to_pixels(decoded).cpu().numpy()
        return [(None if error else pixels[index], error) for index, error in enumerate(errors)]

    def _call(self, requests: Sequence[ImageRequest]) -> torch.Tensor:
        """(N, 3, H, W) float32 in [-1, 1] for exactly as many requests as the batch holds."""
        sampling = requests[0].sampling
        self._pipe.scheduler = build_scheduler(sampling.scheduler, self._own_scheduler)
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        arguments = {**self._arguments(sampling), "generator": generators}
        if self._text is None:
            return self._call_with_prompts(requests, arguments)
        with self._stage("text"):
            arguments |= self._text_and_guidance(requests)
        with self._stage("denoise"):
            arguments["latents"] = self._noise(generators, sampling.height, sampling.width)
            with self._step_cache.every(sampling.cache_interval, self._pipe.unet), self._shared_of(len(requests)):
                latents = self._pipe(**arguments, output_type="latent").images
        with self._stage("decode"):
            return decode_latents(self._pipe.vae, latents)

    def _arguments(self, sampling: Sampling) -> dict[str, Any]:
        """The settings that the pipeline's call takes by their names."""
        values = {each.name: getattr(sampling, each.name) for each in ARGUMENTS}
        given = {each.name: values[each.name] for each in ARGUMENTS if each.does_something(values[each.name])}
        for each in ARGUMENTS:
            if each.has_neutral and each.name in given and each.name not in self._parameters:
                raise DarkroomError(f"{self._class_name} takes no {each.name}; leave it out")
        return given

    def _text_and_guidance(self, requests: Sequence[ImageRequest]) -> dict[str, Any]:
        """Arguments of a call whose images may differ in guidance scale and negative prompt."""
        assert self._text is not None
        sampling, prompts = requests[0].sampling, [request.prompt for request in requests]
        if not (sampling.is_guided and self._is_steered):
            return text_arguments(self._pipe, self._text, prompts, None)
        negatives = [request.sampling.negative_prompt for request in requests]
        arguments: dict[str, Any] = text_arguments(self._pipe, self._text, prompts, negatives)
        scales = RowScales([request.sampling.guidance_scale for request in requests], self._pipe.device)
        arguments["guidance_scale"] = scales
        return arguments | self._interval(sampling, scales, arguments) if sampling.is_partly_guided else arguments

    def _interval(self, sampling: Sampling, scales: RowScales, arguments: dict[str, Any]) -> dict[str, Any]:
        """What to add to the arguments, or to put in their place, where guidance acts in some of the steps alone."""
        own = self._pipe._callback_tensor_inputs
        names = {"prompt_embeds": "negative_prompt_embeds", "add_text_embeds": "negative_pooled_prompt_embeds"}
        negatives = {name: arguments[argument] for name, argument in names.items() if name in own}
        steps = GuidedSteps(sampling, scales, negatives)
        return {
            "guidance_scale": steps.first_scale,
            "callback_on_step_end": steps,
            "callback_on_step_end_tensor_inputs": [name for name in steps.tensors if name in own],
        }

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """A measured stage ends when the device has ended it; otherwise the device is left to run behind."""
        with self._profile.span(name):
            yield
            if self._profile.is_on and self._pipe.device.type == "cuda":
                torch.cuda.synchronize()

    def _call_with_prompts(self, requests: Sequence[ImageRequest], arguments: dict[str, Any]) -> torch.Tensor:
        """The way for pipelines whose text and latents we do not know: all in diffusers' hands."""
        negative_prompt = requests[0].sampling.negative_prompt
        if negative_prompt:
            if "negative_prompt" not in self._parameters:
                raise DarkroomError(f"{self._class_name} takes no negative_prompt; leave it out")
            arguments["negative_prompt"] = [negative_prompt] * len(requests)
        with self._stage("denoise"):
            images = self._pipe([request.prompt for request in requests], output_type="pt", **arguments).images
        return images.float() * 2 - 1

    def _noise(self, generators: list[torch.Generator], height: int, width: int) -> torch.Tensor:
        """Each image's own noise, drawn in float32 on the CPU: the same on every device and in every batch."""
        scale = self._pipe.vae_scale_factor
        shape = (self._pipe.unet.config.in_channels, height // scale, width // scale)
        noise = torch.stack([torch.randn(shape, generator=generator) for generator in generators])
        return noise.to(self._pipe.device, self._pipe.unet.dtype)

    def _truncated(self, prompts: list[str]) -> list[bool]:
        if self._limit is None:
            return [False] * len(prompts)
        return [count > self._limit for count in count_tokens(self._pipe.tokenizer, prompts)]


def versions() -> dict[str, str]:
    import diffusers
    import transformers

    return {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}


def device_name(spec: RendererSpec) -> str:
    if spec.device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    threads = f"{spec.num_threads} thread{'s' if spec.num_threads > 1 else ''}"
    return f"{spec.device} ({platform.machine()}, {threads})"


def _device_id(device: str) -> str:
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid) if device == "cuda" else device


def _is_out_of_memory(error: BaseException) -> bool:
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or "DefaultCPUAllocator" in str(error)


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
