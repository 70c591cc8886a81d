"""A refiner: a second model that goes on with the latents of a first one, for the last steps of each image.

Two models in turn, "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis" (Podell et al. 2023).
Its files are checked without torch. Its steps are those whose timesteps are below a share of training's, as diffusers
divides them.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.domain.adapters import LORAS, REFINER
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import NONE, ModelRef, Sampling
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import loads_models
from darkroom.rendering.memory_options import quantization_config
from darkroom.rendering.model_facts import config_of
from darkroom.rendering.model_files import INDEX, components_of, file_digests, files_in
from darkroom.rendering.part_files import PartFile, digested, folder_of
from darkroom.rendering.schedulers import build_scheduler

if TYPE_CHECKING:
    import torch

    from darkroom.rendering.patches import Patch
    from darkroom.rendering.renderer import RendererSpec

REFINER_CLASS = "StableDiffusionXLImg2ImgPipeline"
ENCODER = "text_encoder_2"  # that both models have, most often with equal weights
_REFINED = "StableDiffusionXLPipeline"
_NO_LIBRARIES = ("diffusers", "transformers")
_DENOISER = "unet"
START = 0.8  # where a model has a refiner and nothing is said, as the card of SDXL's has it
# Patches of its denoiser; those of decoding are made to the VAE that it shares, and others are of the first model.
_PATCHES = ("float8", "channels_last", "subpixel_upsampling", "packed_layers", "channels_last_norms")
_GIVEN = ("height", "width")  # which the latents have already


def refiner_file(ref: ModelRef, class_name: str, model: Path) -> PartFile:
    """A refiner with its digest. `model`: folder of the small files of the model that it is for.

    Raises DarkroomError where the two do not go together, or `ref` asks for what no refiner goes with.
    """
    path = str(ref.refiner)
    _check_ref(ref, class_name)
    place = Path(path).expanduser()
    label = f"model.refiner={path}"
    folder = folder_of(REFINER, path, label)
    index = json.loads((folder / INDEX).read_bytes())
    if index.get("_class_name") not in (REFINER_CLASS, _REFINED):
        raise DarkroomError(f"{label} is a {index.get('_class_name')}; give a {REFINER_CLASS}, or a {_REFINED}")
    brought = [name for name, library in components_of(index).items() if library not in _NO_LIBRARIES]
    if brought:
        raise DarkroomError(f"{label}: {brought[0]} brings its own code; give a model of diffusers' classes alone")
    mine, theirs = (config_of(each / _DENOISER).get("in_channels") for each in (folder, model))
    if mine != theirs:
        raise DarkroomError(
            f"{label} refines other latents: its {_DENOISER} takes {mine} channels, and that of {ref.repo_id} "
            f"{theirs}; give a refiner that was made for this model"
        )
    return digested(REFINER, place.resolve().name if place.is_dir() else path.split("/")[-1], path)


def _check_ref(ref: ModelRef, class_name: str) -> None:
    label = f"model.refiner={ref.refiner}"
    if class_name != _REFINED:
        raise DarkroomError(f"{label}: {ref.repo_id} is a {class_name}, and a refiner goes on from a {_REFINED} alone")
    if ref.offload != NONE:
        raise DarkroomError(f"{label}: model.offload={ref.offload} is of one model; leave one of them out")
    if ref.textual_inversions:
        raise DarkroomError(f"{label}: it does not know the words of model.textual_inversions; leave one of them out")


def refiner_of(parts: Sequence[PartFile]) -> PartFile | None:
    return next((file for file in parts if file.part.kind == REFINER), None)


def refiner_folder(file: PartFile) -> Path:
    return folder_of(REFINER, file.path, file.label)


def shares_encoder(model: Path, refiner: Path, parts: Sequence[PartFile]) -> bool:
    """Whether the text encoders that both have are of equal files, so that one is held for both; not where LoRAs, among
    the first model's parts, change that model's."""
    if any(file.part.kind == LORAS for file in parts):
        return False
    places = [folder / ENCODER for folder in (model, refiner)]
    if not all(place.is_dir() for place in places):
        return False
    files = [sorted(files_in(place)) for place in places]
    names, digests = ([path.name for path in each] for each in files), (file_digests(each) for each in files)
    return len({*map(tuple, names)}) == 1 and len({*map(tuple, digests)}) == 1


# Steps ---------------------------------------------------------------------------------------------------------------


def is_refined(sampling: Sampling) -> bool:
    return sampling.refiner_start is not None and sampling.refiner_start < 1


def _fault_of_steps(sampling: Sampling, scheduler: Any) -> str | None:
    """Why these steps cannot be divided between two models: one of them would have none. `scheduler`: of the call."""
    if not is_refined(sampling):
        return None
    assert sampling.refiner_start is not None
    training = scheduler.config.num_train_timesteps
    cutoff = round(training - sampling.refiner_start * training)
    scheduler.set_timesteps(sampling.num_inference_steps)
    num_refined = int((scheduler.timesteps < cutoff).sum())
    if 0 < num_refined < len(scheduler.timesteps):
        return None
    whom = "refiner" if num_refined == 0 else "model before it"
    return (
        f"refiner_start={sampling.refiner_start:g} leaves no step of {sampling.num_inference_steps} to the {whom}; "
        "give more steps, another start, or 1 to go without the refiner"
    )


def check_refined(sampling: Sampling, model: InspectedModel, source: str = "sampling.") -> None:
    """Raises DarkroomError for settings that no refiner goes with, or that leave one of two models without a step.

    `source`: what comes before a setting's name in the message.
    """
    if model.identity.refiner is None:
        if sampling.refiner_start is not None:
            raise DarkroomError(
                f"{source}refiner_start={sampling.refiner_start:g}: {model.identity.repo_id} has no refiner; leave it "
                "out, or give model.refiner"
            )
        return
    if sampling.is_partly_guided and is_refined(sampling):
        raise DarkroomError(
            f"{source}guidance_start and guidance_stop are shares of one model's steps; leave them out, or the refiner"
        )
    fault = _fault_of_steps(sampling, _scheduler_of(sampling.scheduler, model))
    if fault:
        raise DarkroomError(f"{source}{fault}")


@loads_models
def _scheduler_of(name: str, model: InspectedModel) -> Any:
    import diffusers

    assert model.folder
    config = config_of(Path(model.folder) / "scheduler")
    return build_scheduler(name, getattr(diffusers, config["_class_name"]).from_config(config))


# Loaded --------------------------------------------------------------------------------------------------------------


def load_refiner(
    spec: "RendererSpec", pipe: Any, folder: Path, dtype: "torch.dtype", patches: "Sequence[Patch]"
) -> Any:
    """The refiner's pipeline, with the VAE of `pipe` and, where their files are equal, its second text encoder; None
    where the model has none. `folder`: the first model's."""
    import diffusers

    from darkroom.rendering.patches import apply_patches  # with torch

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
        from darkroom.rendering.conditioning import TextCache  # with torch

        self._pipe = pipe
        self._prediction = pipe.scheduler.config.prediction_type
        self.text = TextCache(pipe, batch_size)

    def refined(
        self,
        latents: "torch.Tensor",
        requests: Sequence[ImageRequest],
        scheduler: Any,
        arguments: Mapping[str, Any],
        takes_guidance: bool,
        watch: Callable[[Any], None] = lambda _: None,
    ) -> "torch.Tensor":
        """(N, C, h, w) latents as the first pipeline leaves them, to latents of finished images. `scheduler`: the first
        pipeline's; `arguments`: what its call was given but for text, its generators among them; `watch` is given the
        scheduler that goes on."""
        from darkroom.rendering.conditioning import conditioning_arguments

        texts = conditioning_arguments(self._pipe, self.text, requests, takes_guidance)
        return self._call(latents, requests[0], scheduler, {**arguments, **texts}, watch)

    def by_diffusers(
        self, latents: "torch.Tensor", request: ImageRequest, scheduler: Any, arguments: Mapping[str, Any]
    ) -> "torch.Tensor":
        """The same for one image, with its prompt as text among the arguments."""
        return self._call(latents, request, scheduler, arguments)

    def _call(
        self,
        latents: "torch.Tensor",
        request: ImageRequest,
        scheduler: Any,
        arguments: Mapping[str, Any],
        watch: Callable[[Any], None] = lambda _: None,
    ) -> "torch.Tensor":
        self._pipe.scheduler = type(scheduler).from_config(scheduler.config, prediction_type=self._prediction)
        watch(self._pipe.scheduler)
        taken = {name: value for name, value in arguments.items() if name not in (*_GIVEN, "latents", "output_type")}
        start = request.sampling.refiner_start
        found = self._pipe(**taken, image=latents.float(), denoising_start=start, output_type="latent")
        latents_of_images: torch.Tensor = found.images
        return latents_of_images
