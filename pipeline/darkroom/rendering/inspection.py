"""Inspect a model's small files: what it is, and whether it can be rendered with, before torch or weights are read."""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.settings import ModelRef
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_files import INDEX, PICKLES, components_of, files_in, folder_digests, folder_revision
from darkroom.rendering.other_parts import inversion_files, vae_file
from darkroom.rendering.part_files import PartFile, check_fits, lora_files

# Pipelines whose steps Darkroom controls: guidance by image and by step, cached features, shared work.
STEERED = ("StableDiffusionPipeline", "StableDiffusionXLPipeline")
_SMALL_FILES = ["*.json", "*.txt", "*.model"]
_LIBRARIES = frozenset({"diffusers", "transformers", "stable_diffusion"})
_OTHER_TASKS = ("Img2Img", "Inpaint", "ControlNet", "Video", "Upscale", "Audio", "Edit", "Depth2Img", "Pix2Pix")
_NO_WEIGHTS = ("tokenizer", "scheduler", "feature_extractor", "image_processor")
_CONVERT = (
    "convert them, on a machine where you trust them, with "
    "`DiffusionPipeline.from_pretrained(folder).save_pretrained(new_folder, safe_serialization=True)`"
)


@dataclass(frozen=True)
class InspectedModel:
    """A model that can be loaded, and what a run needs to know of it first."""

    identity: ModelIdentity
    source: str  # local folder or hub id to load from
    revision: str | None  # hub commit; None for a local folder
    variant: str | None
    height: int | None  # pixels that the model was trained for
    width: int | None
    is_flow: bool  # flow matching, not diffusion
    max_prompt_tokens: int | None  # start and end included
    folder: str | None  # where its small files lie on this machine; None for a renderer without a model
    is_distilled: bool = False  # the UNet takes the guidance scale as an input, as latent consistency models do
    absent: tuple[str, ...] = ()  # components that the model lacks, such as SD3's third text encoder
    digests: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # of files in `folder`, by their names
    parts: tuple[PartFile, ...] = ()  # what is added to it


def inspect_model(ref: ModelRef, device: str) -> InspectedModel:
    """Find a model and check that it can be rendered with. Raises DarkroomError where it cannot."""
    folder, commit = (Path(ref.repo_id), None) if Path(ref.repo_id).is_dir() else _from_hub(ref)
    index = _model_index(folder, ref)
    class_name = _pipeline_class(index, ref)
    components = components_of(index)
    _check_code(components, index, ref)
    files = [path.relative_to(folder).as_posix() for path in files_in(folder, frozenset())]
    _check_weights(components, files if commit is None else _hub_files(ref, commit), ref)
    digests = _digests(folder, ref, skip_blobs=commit is not None)
    parts = _parts(ref, class_name, folder, has_weights=commit is None)
    identity = ModelIdentity(
        repo_id=ref.repo_id if commit else _folder_name(folder),
        revision=commit or folder_revision(digests),
        dtype=resolved_dtype(ref.dtype, device),
        pipeline_class=class_name,
        trust_remote_code=ref.trust_remote_code,
        variant=ref.variant,
        parts=tuple(file.part for file in parts),
    )
    side = _side(folder)
    return InspectedModel(
        identity=identity,
        source=str(folder) if commit is None else ref.repo_id,
        revision=commit,
        variant=ref.variant,
        height=side,
        width=side,
        is_distilled=_config(folder / "unet").get("time_cond_proj_dim") is not None,
        is_flow="FlowMatch" in _class_in(folder, "scheduler"),
        max_prompt_tokens=_max_tokens(folder),
        folder=str(folder),
        absent=tuple(name for name, value in index.items() if value == [None, None]),
        digests=tuple(digests.items()),
        parts=parts,
    )


@loads_models
def _parts(ref: ModelRef, class_name: str, folder: Path, has_weights: bool) -> tuple[PartFile, ...]:
    """What is added to the model, by the settings' order. `has_weights`: they are in its folder, beside small files."""
    loras = lora_files(ref.loras)
    if loras and not hasattr(_pipeline(class_name), "load_lora_weights"):
        raise DarkroomError(f"model.loras: {class_name} of {ref.repo_id} takes no LoRAs; leave them out")
    if ref.textual_inversions and not hasattr(_pipeline(class_name), "load_textual_inversion"):
        raise DarkroomError(f"model.textual_inversions: {class_name} of {ref.repo_id} takes none; leave them out")
    for file in loras if has_weights else ():
        check_fits(file, folder, ref.repo_id)
    vae = (vae_file(ref.vae, folder, ref.repo_id),) if ref.vae else ()
    return (*loras, *inversion_files(ref.textual_inversions, folder, ref.repo_id), *vae)


def shared_models(models: Iterable[InspectedModel]) -> list[InspectedModel]:
    """What is loaded for these models: one for all that differ in LoRAs alone, with the LoRAs of all."""
    found: dict[ModelIdentity, InspectedModel] = {}
    for model in models:
        known = found.setdefault(model.identity.base, replace(model, identity=model.identity.base, parts=()))
        parts = {file.part.revision: file for file in (*known.parts, *model.parts)}
        found[model.identity.base] = replace(known, parts=tuple(parts.values()))
    return list(found.values())


def call_default(model: InspectedModel, name: str) -> Any:
    """The value that a model's call has for an argument that is not given; None where it names none.

    The size is read from the model's files, everything else from its pipeline's signature.
    """
    size = {"height": model.height, "width": model.width}.get(name)
    if size is not None:
        return size
    parameter = (_call_parameters(model) or {}).get(name)
    return parameter.default if parameter and isinstance(parameter.default, int | float) else None


def check_arguments(names: Iterable[str], model: InspectedModel, remedy: str) -> None:
    """Refuse settings that the model's pipeline does not take; `remedy` has a place for the setting's name."""
    parameters = _call_parameters(model)
    for name in names:
        if parameters is not None and name not in parameters:
            raise DarkroomError(
                f"sampling.{name}: {model.identity.pipeline_class} of {model.identity.repo_id} takes no {name}; "
                f"{remedy.format(name)}"
            )


@loads_models
def _call_parameters(model: InspectedModel) -> Mapping[str, inspect.Parameter] | None:
    """Parameters of its pipeline's call; None where the model brings code for it, or is the painter."""
    pipeline = _pipeline(model.identity.pipeline_class)
    return inspect.signature(pipeline.__call__).parameters if pipeline else None


def _pipeline(class_name: str) -> Any:
    import diffusers
    from transformers.utils import logging

    logging.set_verbosity_error()  # else it tells of packages that some pipelines could use
    return getattr(diffusers, class_name, None)


def _digests(folder: Path, ref: ModelRef, skip_blobs: bool) -> dict[str, str]:
    try:
        return folder_digests(folder, ref.trust_remote_code, skip_blobs)
    except OSError as error:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id}: {error.filename} cannot be read ({error.strerror}); make it readable, or "
            "copy the model anew"
        ) from error


def _folder_name(folder: Path) -> str:
    """The name of a local model in images and records, which are read where its path means nothing."""
    return folder.resolve().name or "model"


def resolved_dtype(dtype: str, device: str) -> str:
    """`auto` is float32 on a CPU and float16 on anything faster."""
    return dtype if dtype != "auto" else ("float32" if device == "cpu" else "float16")


@loads_models
def token_counter(model: InspectedModel) -> Callable[[list[str]], list[int]] | None:
    """A function that counts the tokens of prompts, start and end included, by the model's first tokenizer; None where
    the model brings code for it. The class is read from model_index.json: AutoTokenizer would ask on stdin whether to
    run such code."""
    import transformers

    assert model.folder
    folder = Path(model.folder)
    library, name = json.loads((folder / INDEX).read_text())["tokenizer"]
    if library != "transformers":
        return None
    return partial(count_tokens, getattr(transformers, name).from_pretrained(folder / "tokenizer"))


def count_tokens(tokenizer: Any, prompts: list[str]) -> list[int]:
    """Tokens of each prompt, start and end included, none cut off."""
    return [len(ids) for ids in tokenizer(prompts, truncation=False, verbose=False).input_ids] if prompts else []


# Local folder or hub ------------------------------------------------------------------------------------------------


def _from_hub(ref: ModelRef) -> tuple[Path, str]:
    """(folder with the model's small files, commit). Download those files only, or find them in the cache."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    if "://" in ref.repo_id:  # not repeated: it may hold a token
        raise DarkroomError("model.repo_id is an address; give a folder or a hub id, and a token in HF_TOKEN")
    if ref.repo_id.startswith((".", "/", "~")) or ref.repo_id.count("/") > 1:
        raise DarkroomError(f"model.repo_id={ref.repo_id}: no such folder; give a folder that is there, or a hub id")
    try:
        folder = Path(snapshot_download(ref.repo_id, revision=ref.revision, allow_patterns=_SMALL_FILES))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        line = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise DarkroomError(
            f"model.repo_id={ref.repo_id}: neither a local folder nor to be had from the hub ({line}); check the name, "
            "the revision, the network and, for a gated model, `hf auth login`"
        ) from error
    return folder, folder.name


def _hub_files(ref: ModelRef, commit: str) -> list[str]:
    """Names of all files of the commit; of those in the cache where the hub cannot be reached."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    try:
        return HfApi().list_repo_files(ref.repo_id, revision=commit)
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError):
        folder = Path(snapshot_download(ref.repo_id, revision=commit, local_files_only=True))
        return [path.relative_to(folder).as_posix() for path in folder.rglob("*")]


# What model_index.json says -----------------------------------------------------------------------------------------


def _model_index(folder: Path, ref: ModelRef) -> dict[str, Any]:
    path = folder / INDEX
    if not path.is_file():
        raise DarkroomError(f"model.repo_id={ref.repo_id}: no model_index.json; give a model in diffusers' layout")
    try:
        return json.loads(path.read_text())
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
    if any(task in name for task in _OTHER_TASKS):
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} is a {name}, which makes no image from text alone; use another"
        )
    return name


def _check_code(components: dict[str, str], index: dict[str, Any], ref: ModelRef) -> None:
    custom = [name for name, library in components.items() if library not in _LIBRARIES]
    if custom and not ref.trust_remote_code:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id}: {custom[0]} brings its own code ({index[custom[0]][0]}); "
            "set model.trust_remote_code=true if you trust it"
        )


def _check_weights(components: dict[str, str], files: list[str], ref: ModelRef) -> None:
    """Refuse a component whose weights are not safetensors."""
    for name in components:
        if name.startswith(_NO_WEIGHTS):
            continue
        there = [file for file in files if file.startswith(f"{name}/")]
        if any(file.endswith(".safetensors") and (ref.variant or "") in file for file in there):
            continue
        if any(Path(file).suffix in PICKLES for file in there):
            raise DarkroomError(
                f"model.repo_id={ref.repo_id}: {name} has its weights as a pickle, which can run code; {_CONVERT}"
            )
        variant = f" of model.variant={ref.variant}" if ref.variant else ""
        raise DarkroomError(f"model.repo_id={ref.repo_id}: {name} has no safetensors weights{variant}; copy them anew")


def _side(folder: Path) -> int | None:
    """Height and width in pixels: the denoiser's sample size times the VAE's scale factor."""
    for name in ("unet", "transformer"):
        config = _config(folder / name)
        if isinstance(config.get("sample_size"), int):
            channels = _config(folder / "vae").get("block_out_channels", [0, 0, 0, 0])
            return config["sample_size"] * 2 ** (len(channels) - 1)
    return None


def _class_in(folder: Path, component: str) -> str:
    return str(_config(folder / component).get("_class_name", ""))


def _config(folder: Path) -> dict[str, Any]:
    for name in ("config.json", "scheduler_config.json"):
        if (folder / name).is_file():
            return json.loads((folder / name).read_text())
    return {}


def _max_tokens(folder: Path) -> int | None:
    path = folder / "tokenizer" / "tokenizer_config.json"
    length = json.loads(path.read_text()).get("model_max_length") if path.is_file() else None
    return length if isinstance(length, int) and length < 100_000 else None
