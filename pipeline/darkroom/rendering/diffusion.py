"""Renders with any diffusers pipeline of text to images or videos, always in one batch shape.

Short batches are padded and the padding thrown away, so that an image's bytes depend neither on its neighbours nor on
where a shard ends, and a compiled model is compiled once. When memory runs out the batch is halved for a while.
"""

import inspect
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import diffusers
import numpy as np
import torch
import transformers

from darkroom.domain.adapters import INVERSIONS
from darkroom.domain.errors import DarkroomError
from darkroom.domain.progress import OFF, Profile
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ARGUMENTS, IMAGE, Sampling
from darkroom.rendering.adapters import LoraSwitch
from darkroom.rendering.backends import OPENVINO, openvino_version
from darkroom.rendering.conditioning import ENCODERS, TextCache, conditioning_arguments
from darkroom.rendering.encoded_prompts import EncodedPrompts, caches_text
from darkroom.rendering.family import Guidance
from darkroom.rendering.inspected_model import count_tokens, text_tokenizer
from darkroom.rendering.loading import calls_models
from darkroom.rendering.picture_calls import PicturePipelines, composited, with_pictures
from darkroom.rendering.pipeline_calls import (
    call_arguments,
    decode_latents,
    draw_noise,
    faults,
    pictures,
    set_guiders,
    text_groups,
    to_pixels,
    unpacker,
)
from darkroom.rendering.pretrained import LoadedPipeline, load_pipeline
from darkroom.rendering.refiner import Refiner, is_refined
from darkroom.rendering.renderer import RenderedImage, RendererInfo, RendererSpec, Trajectory, explained
from darkroom.rendering.schedulers import build_scheduler, scheduler_facts
from darkroom.rendering.step_watch import StepWatch

_SUCCESSES_BEFORE_GROWING = 16  # calls at a halved batch before the double is tried again
# What the CPU's allocator, a kernel's first call and libraries say, none of them as torch.OutOfMemoryError.
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "CUDA error: out of memory", "_STATUS_ALLOC_FAILED")


def load_diffusers(spec: RendererSpec, profile: Profile = OFF) -> "DiffusersRenderer":
    """Load a pipeline, and the renderer around it."""
    return DiffusersRenderer(load_pipeline(spec), spec, profile)


class DiffusersRenderer:
    """One loaded pipeline. Schedulers change from call to call; the model and the text embeddings stay."""

    def __init__(self, loaded: LoadedPipeline, spec: RendererSpec, profile: Profile = OFF) -> None:
        self._pipe, self._patches = loaded.pipe, loaded.patches
        self._profile = profile
        self._model_scheduler = getattr(self._pipe, "scheduler", None)
        self._scheduler_facts: str | None = None  # of the last call
        self._parameters = inspect.signature(type(self._pipe).__call__).parameters
        self._fitting_size = spec.batch_size  # halved when memory runs out
        self._successes = 0  # calls since that size was set
        self._is_on_openvino = spec.backend == OPENVINO
        is_known = type(self._pipe).__name__ in ENCODERS  # others are given prompts, and make their noise themselves
        self._loras = LoraSwitch(self._pipe) if "loras" in loaded.patches.names else None
        self._text = TextCache(self._pipe, spec.batch_size, self._loras) if is_known else None
        self._refiner = Refiner(loaded.refiner, spec.batch_size) if loaded.refiner else None
        self._family, self._tokens = spec.model.family, spec.model.tokens
        encodes_itself = self._text is None and caches_text(self._pipe, self._family)
        self._encoded = EncodedPrompts(self._pipe, self._family, self._loras) if encodes_itself else None
        self._from_pictures = PicturePipelines(self._pipe, self._family, loaded.controlnet)
        self._has_new_words = any(file.part.kind == INVERSIONS for file in spec.model.parts)
        self._max_tokens = spec.model.max_prompt_tokens
        self.info = RendererInfo(
            device=device_name(spec),
            dtype=spec.model.identity.dtype,
            batch_size=spec.batch_size,
            versions=_versions(spec),
            compiled=spec.compile,
            mixes_guidance=self._family.mixes_guidance and spec.may_mix,
            mixes_loras=self._mixes_loras(spec),
            device_id=_device_id(spec.device),
            keeps_size=is_known,  # others round sizes, or choose among some
            is_proved=self._family.is_proved,
            patches=self._patches.names,
        )

    @calls_models
    @torch.inference_mode()
    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        """Render 1 to batch_size requests that share a `batch_key` of this renderer."""
        assert 1 <= len(requests) <= self.info.batch_size
        prompts = [request.read_prompt.text for request in requests]
        truncated = self._truncated(prompts)
        images: dict[int, RenderedImage] = {}
        for places in text_groups(self._family, self._pipe, prompts):
            group, cut = [requests[place] for place in places], [truncated[place] for place in places]
            images |= zip(places, self._render_group(group, cut), strict=True)
        return [images[place] for place in range(len(requests))]

    def forget_texts(self) -> None:
        """Encode every prompt anew from now on."""
        cache = self._text or self._encoded
        if cache:
            cache.clear()
        if self._refiner:
            self._refiner.text.clear()

    def uncompiled(self) -> AbstractContextManager[Any]:
        """Inside, no compiled code is used."""
        stance: AbstractContextManager[Any] = torch.compiler.set_stance("force_eager")
        return stance

    @calls_models
    @torch.inference_mode()
    def by_diffusers(self, request: ImageRequest) -> np.ndarray:
        """(H, W, 3) uint8 as the pipeline's own call makes of the prompt's text, uncompiled, beside copies of itself,
        since low bits depend on the batch's shape."""
        self._switch_loras([request] * self._fitting_size)
        self._set_scheduler_and_guiders(request.sampling)
        try:
            return self._of_text(request)
        except (RuntimeError, MemoryError) as error:
            if _is_out_of_memory(error):
                raise MemoryError("memory ran out in diffusers' own call") from error
            raise explained(error) from error

    def _of_text(self, request: ImageRequest) -> np.ndarray:
        sampling, copies = request.sampling, [request] * self._fitting_size
        arguments = call_arguments(self._family, copies, self._pipe._execution_device)
        bypassed = self._encoded.bypassed() if self._encoded else nullcontext()
        by_backend = self._patches.around_call(sampling, len(copies)) if self._is_on_openvino else nullcontext()
        with self.uncompiled(), bypassed, by_backend:
            if self._text is None:
                found = getattr(self._pipe(**{**arguments, "output_type": "np"}), self._family.output)
                return np.asarray(np.clip(found[0], 0, 1) * 255).round().astype(np.uint8)
            # Here noise is drawn, and latents are decoded, for both; the pipeline's call is given text, not embeddings.
            noise = draw_noise(self._pipe, arguments["generator"], sampling.height, sampling.width)
            begun = {**arguments, "latents": noise, "output_type": "latent", **_end_of(sampling)}
            latents = self._pipe(**begun).images
            if self._refiner and is_refined(sampling):
                latents = self._refiner.by_diffusers(latents, request, self._pipe.scheduler, arguments)
            found = to_pixels(decode_latents(self._pipe.vae, latents)).cpu().numpy()
        return np.asarray(found[0])

    def _render_group(self, requests: Sequence[ImageRequest], truncated: list[bool]) -> list[RenderedImage]:
        """Images of requests that may share a call."""
        images: list[RenderedImage] = []
        while len(images) < len(requests):
            start, size = len(images), self._fitting_size
            images += self._try(requests[start : start + size], truncated[start : start + size], size)
        return images

    def _mixes_loras(self, spec: RendererSpec) -> bool:
        """Compiled code would hold the weights of one batch."""
        may_mix = self._family.mixes_loras and spec.may_mix and not spec.compile
        return may_mix and self._loras is not None and self._loras.mixes(bool(self._text or self._encoded))

    def _switch_loras(self, requests: Sequence[ImageRequest]) -> None:
        rows = [request.adapters for request in requests]
        assert self._loras or not any(rows)
        if self._loras:
            self._loras.use(rows)
        if self._encoded:
            self._encoded.rows = rows

    # Batches that fit memory ----------------------------------------------------------------------------------------

    def _try(self, requests: Sequence[ImageRequest], truncated: list[bool], size: int) -> list[RenderedImage]:
        """One call of the model; nothing where memory ran out and a smaller batch is to be tried."""
        try:
            watch = StepWatch(requests)
            decoded = self._call([*requests, *[requests[-1]] * (size - len(requests))], watch)
            images = self._images(decoded, requests)
            trajectories = self._trajectories(watch, decoded)
        except (RuntimeError, MemoryError) as error:
            if not _is_out_of_memory(error):
                raise explained(error) from error
            return self._halve(truncated)
        self._count_success()
        return [
            RenderedImage(pixels, cut, error, size, scheduler=self._scheduler_facts, trajectory=trajectories.get(place))
            for place, ((pixels, error), cut) in enumerate(zip(images, truncated, strict=False))
        ]

    def _halve(self, truncated: list[bool]) -> list[RenderedImage]:
        self.forget_texts()
        _free_memory()
        if self._fitting_size == 1:
            return [RenderedImage(None, cut, "out of memory, even alone in its batch") for cut in truncated]
        self._fitting_size //= 2
        self._successes = 0
        return []

    def _count_success(self) -> None:
        self._successes += 1
        if self._fitting_size < self.info.batch_size and self._successes >= _SUCCESSES_BEFORE_GROWING:
            self._fitting_size = min(2 * self._fitting_size, self.info.batch_size)
            self._successes = 0

    # One call -------------------------------------------------------------------------------------------------------

    def _call(self, requests: Sequence[ImageRequest], watch: StepWatch) -> torch.Tensor:
        """(N, 3, H, W) float32 in [-1, 1] for exactly as many requests as the batch holds."""
        sampling = requests[0].sampling
        self._switch_loras(requests)
        self._set_scheduler_and_guiders(sampling)
        if self._model_scheduler is not None:
            watch.watch(self._pipe.scheduler)
        if self._text is None:
            return self._call_with_prompts(requests)
        generators = [torch.Generator().manual_seed(request.seed) for request in requests]
        arguments = {**self._arguments(sampling), "generator": generators}
        with self._stage("text"):
            arguments |= conditioning_arguments(self._pipe, self._text, requests, self._family.mixes_guidance)
        if requests[0].pictures:
            if requests[0].picture(IMAGE) is None:
                arguments["latents"] = draw_noise(self._pipe, generators, sampling.height, sampling.width)
            with self._stage("denoise"), self._patches.around_call(sampling, len(requests)):
                latents = self._called_with_pictures({**arguments, "output_type": "latent"}, requests).images
            with self._stage("decode"):
                return decode_latents(self._pipe.vae, latents)
        with self._stage("denoise"), self._patches.around_call(sampling, len(requests)):
            arguments["latents"] = draw_noise(self._pipe, generators, sampling.height, sampling.width)
            latents = self._pipe(**arguments, **_end_of(sampling), output_type="latent").images
        if self._refiner and is_refined(sampling):
            settings = {**self._arguments(sampling), "generator": generators}
            with self._stage("denoise"):
                latents = self._refiner.refined(
                    latents, requests, self._pipe.scheduler, settings, self._family.mixes_guidance, watch.watch
                )
        with self._stage("decode"):
            return decode_latents(self._pipe.vae, latents)

    def _arguments(self, sampling: Sampling) -> dict[str, Any]:
        """The settings that the pipeline's call takes by their names."""
        values = {each.name: getattr(sampling, each.name) for each in ARGUMENTS}
        return {each.name: values[each.name] for each in ARGUMENTS if each.does_something(values[each.name])}

    def _call_with_prompts(self, requests: Sequence[ImageRequest]) -> torch.Tensor:
        """The same for pipelines whose embeddings and latents are not known here: diffusers does all of it."""
        arguments = call_arguments(self._family, requests, self._pipe._execution_device)
        if not requests[0].pictures:
            self._check_taken(arguments)
        with self._stage("denoise"), self._patches.around_call(requests[0].sampling, len(requests)):
            call = self._called_with_pictures if requests[0].pictures else self._called
            output = call(arguments, requests)
        return pictures(self._family, output)

    def _called(self, arguments: Mapping[str, Any], _: Sequence[ImageRequest]) -> Any:
        return self._pipe(**arguments)

    def _called_with_pictures(self, arguments: Mapping[str, Any], requests: Sequence[ImageRequest]) -> Any:
        pipe = self._from_pictures.of(requests[0])
        return pipe(**with_pictures(pipe, arguments, requests))

    def _trajectories(self, watch: StepWatch, images: torch.Tensor) -> dict[int, Trajectory]:
        """Place of a request -> its trajectory, where one is asked for. `images`: the call's, (N, 3, H, W)."""
        if not watch.is_asked:
            return {}
        unpack = unpacker(self._pipe, self._family, *images.shape[2:])
        with self._stage("decode"):
            return watch.trajectories(images, lambda latents: decode_latents(self._pipe.vae, unpack(latents)))

    def _set_scheduler_and_guiders(self, sampling: Sampling) -> None:
        if self._model_scheduler is not None:
            self._pipe.scheduler = build_scheduler(sampling.scheduler, self._model_scheduler)
            self._scheduler_facts = scheduler_facts(self._pipe.scheduler)
        if self._family.guider and self._family.guidance is Guidance.BRANCHES:
            set_guiders(self._pipe, sampling.guidance_scale)

    def _check_taken(self, arguments: Iterable[str]) -> None:
        for name in arguments:
            if name not in self._parameters:
                raise DarkroomError(f"{type(self._pipe).__name__} takes no {name}; leave it out")

    def _images(
        self, decoded: torch.Tensor, requests: Sequence[ImageRequest]
    ) -> list[tuple[np.ndarray | None, str | None]]:
        """Pixels, (H, W, 3) uint8, of videos (F, H, W, 3), or the reason why there are none, of each request's decoded
        image."""
        with self._stage("copy"):
            errors, pixels = faults(decoded), to_pixels(decoded).cpu().numpy()
        return [
            (None if error else composited(made, request), error)
            for made, error, request in zip(pixels, errors, requests, strict=False)
        ]

    def _truncated(self, prompts: list[str]) -> list[bool]:
        if self._max_tokens is None:
            return [False] * len(prompts)
        assert self._tokens
        tokenizer = text_tokenizer(getattr(self._pipe, self._tokens.name))
        if self._has_new_words:  # each of which may be several tokens
            prompts = self._pipe.maybe_convert_prompt(prompts, tokenizer)
        return [count > self._max_tokens for count in count_tokens(tokenizer, prompts, self._tokens.before)]

    @contextmanager
    def _stage(self, name: str) -> Iterator[None]:
        """A measured stage ends when the device has ended it; otherwise the device is left to run behind."""
        with self._profile.span(name):
            yield
            if self._profile.is_on and self._pipe._execution_device.type == "cuda":
                torch.cuda.synchronize()


def _end_of(sampling: Sampling) -> dict[str, float]:
    """Of the first model's steps, where another goes on."""
    return {"denoising_end": float(sampling.refiner_start or 0)} if is_refined(sampling) else {}


def device_name(spec: RendererSpec) -> str:
    """The device for people and records: its kind, and its model or architecture with the number of threads."""
    if spec.device == "cuda":
        return f"cuda ({torch.cuda.get_device_name()})"
    threads = f"{spec.num_threads} thread{'s' if spec.num_threads > 1 else ''}"
    return f"{spec.device} ({platform.machine()}, {threads})"


def _versions(spec: RendererSpec) -> dict[str, str]:
    """Of the libraries that compute, by their names."""
    found = {library.__name__: str(library.__version__) for library in (torch, diffusers, transformers)}
    return found | ({OPENVINO: openvino_version() or ""} if spec.backend == OPENVINO else {})


def _device_id(device: str) -> str:
    return str(torch.cuda.get_device_properties(torch.cuda.current_device()).uuid) if device == "cuda" else device


def _is_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return any(words in str(error) for words in _OUT_OF_MEMORY)


def _free_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
