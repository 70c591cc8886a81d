"""Inspect a model's small files: what it is, and whether it can be rendered with, before torch or weights are read."""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from darkroom.domain.adapters import GGUF, VAE
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.settings import EXECUTION, ModelRef, Value
from darkroom.rendering import single_file
from darkroom.rendering.backends import check_attention_backend
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import loads_models
from darkroom.rendering.memory_options import check_offload, check_quantization, check_vae, vae_config
from darkroom.rendering.model_facts import (
    config_of,
    family_of,
    is_flow,
    max_tokens,
    pipeline_modules,
    pipeline_of,
    size_of,
)
from darkroom.rendering.model_files import INDEX, PICKLES, components_of, folder_digests, folder_revision
from darkroom.rendering.model_places import Place, place_of
from darkroom.rendering.other_parts import controlnet_file, denoiser_of, gguf_part, inversion_files, vae_file
from darkroom.rendering.part_files import PartFile, check_fits, lora_files
from darkroom.rendering.refiner import refiner_file
from darkroom.rendering.single_file import SingleFile
from darkroom.rendering.stored_tensors import stored_dtype

_LIBRARIES = frozenset({"diffusers", "transformers"})
_OTHER_TASKS = ("Img2Img", "Inpaint", "ControlNet", "Video", "Upscale", "Audio", "Edit", "Depth2Img", "Pix2Pix")
_NO_WEIGHTS = ("tokenizer", "scheduler", "feature_extractor", "image_processor", "guider")  # in components' names
_CONVERT = (
    "convert them, on a machine where you trust them, with "
    "`DiffusionPipeline.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)`"
)


def inspect_model(ref: ModelRef, device: str, later: Collection[str] = ()) -> InspectedModel:
    """Find a model and check that it can be rendered with. Raises DarkroomError where it cannot.

    `later`: kinds of parts that it will have besides, so that its own weights need not be there.
    """
    place, made = _found(ref)
    index = _model_index(place.folder, ref)
    class_name, components, files = _pipeline_class(index, ref), components_of(index), place.names()
    replaced = _replaced(ref, index, later)
    _check_weights([name for name in components if name not in replaced], files, ref)
    family = family_of(class_name, index, place.folder, ref)
    check_quantization(ref, index)
    tokens = next((each for each in family.tokens if each.name in components), None)
    folder, commit = place.whole(), place.commit
    digests = _digests(folder, ref, skip_blobs=commit is not None)
    parts = _parts(ref, class_name, index, folder, has_weights=commit is None)
    check_vae(ref, vae_config(folder, parts))
    check_offload(ref, class_name)
    check_attention_backend(ref, class_name, folder, device)
    revision = commit or (made.revision if made else folder_revision(digests))
    dtype = resolved_dtype(ref, device, lambda: _stored_dtype(components, files, folder, ref, commit))
    height, width = size_of(family, folder)
    return InspectedModel(
        identity=_identity(ref, place.name, revision, dtype, class_name, parts),
        source=place.source,
        revision=commit,
        variant=ref.variant,
        height=height,
        width=width,
        family=family,
        tokens=tokens,
        is_flow=is_flow(config_of(folder / "scheduler")),
        max_prompt_tokens=None if tokens is None else tokens.limit or max_tokens(folder / tokens.name),
        folder=str(folder),
        absent=tuple(name for name, value in index.items() if value == [None, None]),
        digests=tuple(digests.items()),
        parts=parts,
        single_file=made,
        execution=execution_of(ref),
    )


def _found(ref: ModelRef) -> tuple[Place, SingleFile | None]:
    """Where the model is; of a checkpoint of one file, the folder that it is made into, and of what it was made."""
    place = place_of(ref)
    index = _model_index(place.folder, ref)
    class_name = _pipeline_class(index, ref)
    _check_code(components_of(index), index, ref)
    return _converted(ref, ref.single_file, place, class_name) if ref.single_file else (place, None)


def _identity(
    ref: ModelRef, name: str, revision: str, dtype: str, class_name: str, parts: Iterable[PartFile]
) -> ModelIdentity:
    """`name`: of the model, in images and records."""
    return ModelIdentity(
        repo_id=name,
        revision=revision,
        dtype=dtype,
        pipeline_class=class_name,
        trust_remote_code=ref.trust_remote_code,
        variant=ref.variant,
        parts=tuple(file.part for file in parts),
        quantization=ref.quantization,
        vae_tiling=ref.vae_tiling,
        attention_backend=ref.attention_backend,
    )


def _converted(ref: ModelRef, path: str, configuration: Place, class_name: str) -> tuple[Place, SingleFile]:
    """The folder that a checkpoint of one file is made into, and of what it was made."""
    _check_single_file(ref)
    folder = configuration.folder
    made = SingleFile(path, configuration.source, configuration.commit, single_file.revision_of(path, folder))
    converted = single_file.converted(path, folder, class_name, made.revision)
    return Place(converted, str(converted)), made


def _replaced(ref: ModelRef, index: Mapping[str, Any], later: Collection[str]) -> set[str | None]:
    """Components in whose place are weights of others."""
    kinds = {*later, *([GGUF] if ref.gguf else []), *([VAE] if ref.vae else [])}
    return {denoiser_of(index) if GGUF in kinds else None, VAE if VAE in kinds else None}


def _stored_dtype(
    components: Mapping[str, str], files: list[str], folder: Path, ref: ModelRef, commit: str | None
) -> str:
    """What quantized weights are computed in is chosen: bfloat16 has the range of what they stand for."""
    return "bfloat16" if ref.gguf else stored_dtype(components, files, folder, ref, commit)


def execution_of(ref: ModelRef) -> dict[str, Value]:
    """The settings of how a model is held in memory, where they do something."""
    values = {each: getattr(ref, each.name) for each in EXECUTION}
    return {each.name: value for each, value in values.items() if each.does_something(value)}


@loads_models
def _parts(
    ref: ModelRef, class_name: str, index: Mapping[str, Any], folder: Path, has_weights: bool
) -> tuple[PartFile, ...]:
    """What is added to the model, by the settings' order. `has_weights`: they are in its folder, beside small files."""
    loras = lora_files(ref.loras)
    if loras and not hasattr(pipeline_of(class_name), "load_lora_weights"):
        raise DarkroomError(f"model.loras: {class_name} of {ref.repo_id} takes no LoRAs; leave them out")
    if ref.textual_inversions and not hasattr(pipeline_of(class_name), "load_textual_inversion"):
        raise DarkroomError(f"model.textual_inversions: {class_name} of {ref.repo_id} takes none; leave them out")
    for file in loras if has_weights else ():
        check_fits(file, folder, ref)
    vae = (vae_file(ref.vae, folder, ref.repo_id),) if ref.vae else ()
    refiner = (refiner_file(ref, class_name, folder),) if ref.refiner else ()
    controlnet = (controlnet_file(ref, class_name, folder),) if ref.controlnet else ()
    gguf = (gguf_part(ref, index),) if ref.gguf else ()
    inversions = inversion_files(ref.textual_inversions, folder, ref.repo_id)
    return (*loras, *inversions, *vae, *refiner, *controlnet, *gguf)


def _digests(folder: Path, ref: ModelRef, skip_blobs: bool) -> dict[str, str]:
    try:
        return folder_digests(folder, ref.trust_remote_code, skip_blobs)
    except OSError as error:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id}: {error.filename} cannot be read ({error.strerror}); make it readable, or "
            "copy the model anew"
        ) from error


def resolved_dtype(ref: ModelRef, device: str, stored: Callable[[], str]) -> str:
    """`auto` is float32 on a CPU, and on anything faster what the weights are stored in."""
    return ref.dtype if ref.dtype != "auto" else ("float32" if device == "cpu" else stored())


# What model_index.json says -----------------------------------------------------------------------------------------


def single_file_revision(ref: ModelRef) -> str:
    """Of the model that `ref.single_file` and the configuration are; nothing is converted for it."""
    return single_file.revision_of(str(ref.single_file), place_of(ref).folder)


def _check_single_file(ref: ModelRef) -> None:
    if ref.variant is not None:
        raise DarkroomError(f"model.variant={ref.variant}: model.single_file has its weights in one file; leave it out")
    if ref.trust_remote_code:
        raise DarkroomError("model.trust_remote_code: model.single_file has no code; leave it out")


def _model_index(folder: Path, ref: ModelRef) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        raise DarkroomError(f"model.repo_id={ref.repo_id}: no model_index.json; give a model in diffusers' layout")
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id}: model_index.json is not JSON ({error}); copy it anew"
        ) from None


def _pipeline_class(index: dict[str, Any], ref: ModelRef) -> str:
    name = index.get("_class_name")
    if isinstance(name, list) and ref.trust_remote_code:
        return str(name[-1])
    if isinstance(name, list):
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} brings pipeline code of its own; set model.trust_remote_code=true to run it"
        )
    if not isinstance(name, str) or not name.endswith("Pipeline"):
        raise DarkroomError(f"model.repo_id={ref.repo_id}: model_index.json names no pipeline class; copy it anew")
    if name not in FAMILIES and any(task in name for task in _OTHER_TASKS):
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} is a {name}, which makes no image from text alone; use another"
        )
    return name


def _check_code(components: dict[str, str], index: dict[str, Any], ref: ModelRef) -> None:
    own = _LIBRARIES | pipeline_modules()  # diffusers looks there first, whatever lies in the model's folder
    custom = [name for name, library in components.items() if library not in own]
    if custom and not ref.trust_remote_code:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id}: {custom[0]} brings its own code ({index[custom[0]][0]}); "
            "set model.trust_remote_code=true if you trust it"
        )


def _check_weights(components: Iterable[str], files: list[str], ref: ModelRef) -> None:
    """Refuse a component whose weights are not safetensors."""
    for name in components:
        if any(part in name for part in _NO_WEIGHTS):
            continue
        there = [file for file in files if file.startswith(f"{name}/")]
        if any(file.endswith(".safetensors") and (ref.variant or "") in file for file in there):
            continue
        if ref.single_file and name == VAE:
            raise DarkroomError(f"model.single_file={ref.single_file} has no VAE, as many have none; give model.vae")
        if any(Path(file).suffix in PICKLES for file in there):
            raise DarkroomError(
                f"model.repo_id={ref.repo_id}: {name} has its weights as a pickle, which can run code; {_CONVERT}"
            )
        variant = f" of model.variant={ref.variant}" if ref.variant else ""
        remedy = "leave the variant out, or copy the weights anew" if ref.variant else "copy them anew"
        raise DarkroomError(f"model.repo_id={ref.repo_id}: {name} has no safetensors weights{variant}; {remedy}")
