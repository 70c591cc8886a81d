"""Load a pretrained diffusers pipeline on its device, in its dtype, with its patches; safetensors only."""

import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import diffusers
import torch
import transformers
from diffusers.utils import DIFFUSERS_DYNAMIC_MODULE_NAME, dynamic_modules_utils

from darkroom.domain.adapters import INVERSIONS, VAE
from darkroom.domain.errors import DarkroomError, TryAgain, WrongModel
from darkroom.domain.settings import FLOAT8, NONE, ModelRef
from darkroom.rendering.conditioning import ENCODERS
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import LocalFiles, detach_from_files, loads_models, proved
from darkroom.rendering.memory_options import quantization_config
from darkroom.rendering.model_facts import MOVED, pipeline_modules
from darkroom.rendering.model_files import INDEX, components_of, shaping_files, snapshot_digests
from darkroom.rendering.model_places import SETTING, index_here, place_of
from darkroom.rendering.other_parts import denoiser_of, gguf_of, load_controlnet, load_gguf, load_inversions, load_vae
from darkroom.rendering.part_files import folder_of
from darkroom.rendering.patches import PATCHES, AppliedPatches, Patch, apply_patches
from darkroom.rendering.refiner import load_refiner
from darkroom.rendering.renderer import RendererSpec
from darkroom.rendering.single_file import SingleFile, converted, revision_of
from darkroom.storage.store import is_remote

_CODE_FOLDER_PREFIX = "darkroom-model-code-"
_TEXT_CLEANERS = ("is_bs4_available", "is_ftfy_available")

_code_folders: list[TemporaryDirectory[str]] = []  # of the loaded model, whose functions may import more of its code


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline that is ready to render, and in no way tied to its files any more."""

    pipe: Any  # a diffusers pipeline
    patches: AppliedPatches
    refiner: Any = None  # another, which finishes what the first begins
    controlnet: Any = None  # a network beside its own, by which pictures shape images


@loads_models
def load_pipeline(spec: RendererSpec, patches: Sequence[Patch] = PATCHES) -> LoadedPipeline:
    """Load, prove and patch. Raises WrongModel where files differ from those that the job was started with."""
    if spec.device == "cpu":
        torch.set_num_threads(spec.num_threads)
    _silence_libraries()
    spec = replace(spec, model=_here(spec.model))
    _find_moved_packages(spec.model)
    folder = _local_folder(spec.model)
    return _proved_all(
        [_local_files(spec.model, folder), *_part_files(spec.model)], partial(_load, spec, folder, patches)
    )


def _proved_all(files: Sequence[LocalFiles], load: Callable[[], LoadedPipeline]) -> LoadedPipeline:
    """What `load` makes of all of these files, none of which changes meanwhile."""
    for each in files:
        load = partial(proved, each, load)
    return load()


def _load(spec: RendererSpec, folder: Path, patches: Sequence[Patch]) -> LoadedPipeline:
    pipe = _from_pretrained(spec.model, folder)
    if not spec.is_offloaded:  # else it may be larger than the device's memory
        pipe.to(spec.device)
    load_inversions(pipe, [file for file in spec.model.parts if file.part.kind == INVERSIONS])
    pipe.set_progress_bar_config(disable=True)
    disable_text_cleaning(pipe)
    _avoid_float32_decoding(pipe)
    _name_text_model(pipe)
    refiner = load_refiner(spec, pipe, folder, _dtype(spec.model), patches)
    controlnet = load_controlnet(spec.model.parts, _dtype(spec.model))
    if controlnet is not None:
        controlnet.to(spec.device)
    applied = apply_patches(pipe, spec, patches)
    loaded = [*pipe.components.values(), *(refiner.components.values() if refiner else ()), controlnet]
    detach_from_files(part for part in loaded if isinstance(part, torch.nn.Module))
    return LoadedPipeline(pipe, applied, refiner, controlnet)


def _dtype(model: InspectedModel) -> torch.dtype:
    """That weights are loaded in; float8 is of some layers, later."""
    found: torch.dtype = torch.bfloat16 if model.identity.dtype == FLOAT8 else getattr(torch, model.identity.dtype)
    return found


def _silence_libraries() -> None:
    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()


def _find_moved_packages(model: InspectedModel) -> None:
    """Have diffusers find components of packages that it has moved, such as wuerstchen, which Stable Cascade's VQGAN is
    of: it looks for a component's class beside the pipelines' packages alone."""
    for library in components_of(_index_of(model)).values():
        name = f"{diffusers.pipelines.__name__}.{MOVED}.{library}"
        if library in pipeline_modules() and not hasattr(diffusers.pipelines, library) and find_spec(name):
            setattr(diffusers.pipelines, library, import_module(name))


def _index_of(model: InspectedModel) -> dict[str, Any]:
    """What its model_index.json says."""
    assert model.folder
    return dict(json.loads((Path(model.folder) / INDEX).read_bytes()))


def _from_pretrained(model: InspectedModel, folder: Path) -> Any:
    trusts_code = model.identity.trust_remote_code
    dtype = _dtype(model)
    others = {each.part.kind: load_vae(each, dtype) for each in model.parts if each.part.kind == VAE}
    gguf = gguf_of(model.parts)
    if gguf:
        others |= load_gguf(gguf, folder, _index_of(model), dtype)
    if model.identity.quantization != NONE:
        others["quantization_config"] = quantization_config(model.identity.quantization, folder)
    with isolated_model_code() if trusts_code else nullcontext():
        return diffusers.DiffusionPipeline.from_pretrained(
            folder,
            variant=model.variant,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=trusts_code,
            **dict.fromkeys(model.absent),
            **others,
        )


def _avoid_float32_decoding(pipe: Any) -> None:
    """Have a VAE that overflows in float16, as SDXL's, decode in bfloat16, whose range is float32's.

    diffusers would cast it to float32 for every batch, in classes with `upcast_vae`. Only where latents are decoded
    here: a pipeline that decodes them itself gives them to the VAE in float16.
    """
    is_upcast = type(pipe).__name__ in ENCODERS and hasattr(pipe, "upcast_vae") and pipe.vae.config.force_upcast
    if is_upcast and pipe.vae.dtype == torch.float16:
        pipe.vae.to(torch.bfloat16)


def _name_text_model(pipe: Any) -> None:
    """Diffusers 0.42 reads the last norm of a CLIP text encoder, for `clip_skip`, from a part of it that transformers 5
    has made one with the encoder."""
    for part in pipe.components.values():
        if isinstance(part, transformers.CLIPTextModel) and not hasattr(part, "text_model"):
            object.__setattr__(part, "text_model", part)  # not as a submodule, which would hold itself


# Files on this machine ----------------------------------------------------------------------------------------------


def _here(model: InspectedModel) -> InspectedModel:
    """The model with its folder on this machine; of one of the hub, it may have no more than its model_index.json."""
    if model.single_file:
        folder = _converted(model, model.single_file)
    elif model.revision is not None:
        folder = index_here(model.source, model.revision)
    elif is_remote(model.source):
        from darkroom.rendering.remote_files import remote_model  # with the clouds' client

        folder = remote_model(model.source, SETTING, model.identity.trust_remote_code).whole()
    else:
        folder = Path(model.source)
    return replace(model, folder=str(folder))


def _converted(model: InspectedModel, file: SingleFile) -> Path:
    """The folder that its checkpoint is made into. Raises WrongModel where that or its configuration is another, or is
    not there."""
    try:
        configuration = place_of(ModelRef(file.configuration, revision=file.commit)).folder
        found = revision_of(file.path, configuration)
    except TryAgain:
        raise
    except DarkroomError as error:
        raise WrongModel(f"on {platform.node()}, {error}") from error
    if found != file.revision:
        raise WrongModel(
            f"model.single_file={file.path}: on {platform.node()}, it or its configuration {file.configuration} is "
            f"{found}, and not {file.revision}, which this job was started with; copy both there anew"
        )
    return converted(file.path, configuration, model.identity.pipeline_class, found)


def _local_folder(model: InspectedModel) -> Path:
    """The model's folder on this machine; a hub model is downloaded, as far as it is needed."""
    if model.revision is None:
        assert model.folder
        return Path(model.folder)
    folder = diffusers.DiffusionPipeline.download(
        model.source,
        revision=model.revision,
        variant=model.variant,
        use_safetensors=True,
        trust_remote_code=model.identity.trust_remote_code,
        **dict.fromkeys(model.absent),
        **({str(denoiser_of(_index_of(model))): None} if gguf_of(model.parts) else {}),
    )
    return Path(folder)


def _local_files(model: InspectedModel, folder: Path) -> LocalFiles:
    label, trusts_code = f"model.repo_id={model.identity.repo_id}", model.identity.trust_remote_code
    expected = dict(model.digests)
    if model.revision is not None:
        expected = snapshot_digests(folder, trusts_code, expected)
        return LocalFiles(label, folder, expected, lambda: [name for name in expected if (folder / name).is_file()])
    return LocalFiles(label, folder, expected, lambda: shaping_files(folder, trusts_code))


def _part_files(model: InspectedModel) -> Iterator[LocalFiles]:
    for each in model.parts:
        folder = folder_of(each.part.kind, each.path, each.label)
        yield LocalFiles(each.label, folder, dict(each.digests), lambda: ())


# What must not depend on the environment ----------------------------------------------------------------------------


@contextmanager
def isolated_model_code() -> Iterator[None]:
    """Import the code of a trusted model from a new folder, for one load in a process that holds one model.

    diffusers copies such code into one folder for all models and processes, by file name alone: another model's file,
    or one that another process is just copying, may take its place, and an imported module serves the next model too.
    """
    _forget_model_code()
    _code_folders[:] = [TemporaryDirectory(prefix=_CODE_FOLDER_PREFIX)]
    folder = _code_folders[0].name
    before, dynamic_modules_utils.HF_MODULES_CACHE = dynamic_modules_utils.HF_MODULES_CACHE, folder
    sys.path.insert(0, folder)  # before diffusers' folder, where other programs may have left code
    try:
        yield
    finally:
        dynamic_modules_utils.HF_MODULES_CACHE = before


def _forget_model_code() -> None:
    sys.path[:] = [place for place in sys.path if not Path(place).name.startswith(_CODE_FOLDER_PREFIX)]
    for name in list(sys.modules):
        if name.split(".")[0] == DIFFUSERS_DYNAMIC_MODULE_NAME:
            del sys.modules[name]


def disable_text_cleaning(pipe: Any) -> None:
    """Have prompts encoded as they are. Some pipelines (PixArt's, Lumina, IF, Kandinsky 5) clean them with ftfy and
    Beautiful Soup where these are installed, so that two environments would render two pictures."""
    for kind in type(pipe).__mro__:
        for name in _TEXT_CLEANERS:
            if hasattr(sys.modules.get(kind.__module__), name):
                setattr(sys.modules[kind.__module__], name, _never)


def _never() -> bool:
    return False
