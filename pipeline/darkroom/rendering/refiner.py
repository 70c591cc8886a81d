"""A refiner: a second pipeline that goes on with the latents of a first one, for the last steps of each image."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import diffusers
import torch

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import NONE
from darkroom.rendering.conditioning import TextCache, conditioning_arguments
from darkroom.rendering.patches import PATCHES, Patch, apply_patches
from darkroom.rendering.quantization import quantization_config
from darkroom.rendering.refiner_files import ENCODER, REFINER_CLASS, refiner_folder, refiner_of, shares_encoder
from darkroom.rendering.renderer import RendererSpec

# Patches of its denoiser; those of decoding are made to the VAE that it shares, and others are of the first model.
_PATCHES = ("float8", "channels_last", "subpixel_upsampling", "packed_layers", "channels_last_norms")
_SIZE = ("height", "width")  # which the latents have already


def load_refiner(
    spec: RendererSpec, pipe: Any, folder: Path, dtype: torch.dtype, patches: Sequence[Patch] = PATCHES
) -> Any:
    """The refiner's pipeline, with the VAE of `pipe` and, where their files are equal, its second text encoder; None
    where the model has none. `folder`: the first model's."""
    file = refiner_of(spec.model.parts)
    if file is None:
        return None
    place, quantization = refiner_folder(file), spec.model.identity.quantization
    others: dict[str, Any] = {"vae": pipe.vae}
    if shares_encoder(folder, place, spec.model.parts):
        others[ENCODER] = getattr(pipe, ENCODER)
    if quantization != NONE:
        others["quantization_config"] = quantization_config(quantization, place)
    kind = getattr(diffusers, REFINER_CLASS)
    refiner = kind.from_pretrained(place, dtype=dtype, use_safetensors=True, add_watermarker=False, **others)
    refiner.to(spec.device)
    refiner.set_progress_bar_config(disable=True)
    apply_patches(refiner, spec, [patch for patch in patches if patch.name in _PATCHES])
    return refiner


class Refiner:
    """One loaded refiner: its text embeddings stay from call to call."""

    def __init__(self, pipe: Any, batch_size: int) -> None:
        self._pipe = pipe
        self._prediction = pipe.scheduler.config.prediction_type
        self.text = TextCache(pipe, batch_size)

    def refined(
        self,
        latents: torch.Tensor,
        requests: Sequence[ImageRequest],
        scheduler: Any,
        arguments: Mapping[str, Any],
        takes_guidance: bool,
    ) -> torch.Tensor:
        """(N, C, h, w) latents as the first pipeline leaves them, to latents of finished images. `scheduler`: the first
        pipeline's; `arguments`: what its call was given but for text, its generators among them."""
        texts = conditioning_arguments(self._pipe, self.text, requests, takes_guidance)
        return self._call(latents, requests[0], scheduler, {**arguments, **texts})

    def by_diffusers(
        self, latents: torch.Tensor, request: ImageRequest, scheduler: Any, arguments: Mapping[str, Any]
    ) -> torch.Tensor:
        """The same for one image, with its prompt as text among the arguments."""
        return self._call(latents, request, scheduler, arguments)

    def _call(
        self, latents: torch.Tensor, request: ImageRequest, scheduler: Any, arguments: Mapping[str, Any]
    ) -> torch.Tensor:
        self._pipe.scheduler = type(scheduler).from_config(scheduler.config, prediction_type=self._prediction)
        taken = {name: value for name, value in arguments.items() if name not in (*_SIZE, "latents", "output_type")}
        start = request.sampling.refiner_start
        found = self._pipe(**taken, image=latents.float(), denoising_start=start, output_type="latent")
        return torch.as_tensor(found.images)
