"""The files of a refiner, a model that finishes what another begins, before it is loaded.

Two models in turn, "SDXL: Improving Latent Diffusion Models for High-Resolution Image Synthesis" (Podell et al. 2023).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from darkroom.domain.adapters import LORAS, REFINER
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import NONE, ModelRef
from darkroom.rendering.model_facts import config_of
from darkroom.rendering.model_files import INDEX, components_of, file_digests, files_in
from darkroom.rendering.part_files import PartFile, digested, folder_of

REFINER_CLASS = "StableDiffusionXLImg2ImgPipeline"
ENCODER = "text_encoder_2"  # that both models have, most often with equal weights
_REFINED = "StableDiffusionXLPipeline"
_NO_LIBRARIES = ("diffusers", "transformers")
_DENOISER = "unet"


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
