"""What a model's pipeline class and its small configuration files say of its call.

The signature of a call is read from diffusers' source: to import a pipeline takes seconds.
"""

import ast
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.domain.settings import ModelRef
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.family import UNPROVED, Family, Flag, Guidance
from darkroom.rendering.loading import loads_models

MOVED = "deprecated"  # diffusers' package of pipelines' packages that are loaded as if they lay beside it
_OF_PRIORS = "image_embed"  # begins the names of arguments that are what a first stage makes of the prompt
# Arguments of calls that make something else than one picture.
_NO_PICTURES = ("num_frames", "video_length", "audio_length_in_s", "audio_end_in_s", "frame_size")
_CALL = "__call__"


def family_of(class_name: str, index: dict[str, Any], folder: Path, ref: ModelRef) -> Family:
    """The class's facts as they hold for this model."""
    if class_name not in FAMILIES:
        return _unproved(class_name, ref)
    family = FAMILIES[class_name]
    if family.needs and find_spec(family.needs) is None:
        raise MissingPackage(
            f"model.repo_id={ref.repo_id}: a {class_name} needs the package {family.needs}; run `pip install "
            f"{family.needs}`"
        )
    if family.unguided_if and _is_set(family.unguided_if, index, folder):
        return replace(family, guidance=Guidance.NONE, mixes_guidance=False)
    if family.embedded_if and _is_set(family.embedded_if, index, folder):
        return replace(
            family, guidance=Guidance.EMBEDDED, guider=None, mixes_guidance=False, takes_negative_prompt=False
        )
    if family.guider and not index.get(family.guider, [None])[0]:
        return replace(family, guidance=Guidance.NONE, guider=None, takes_negative_prompt=False)
    return family


def _is_set(flag: Flag, index: dict[str, Any], folder: Path) -> bool:
    return bool((config_of(folder / flag.component) if flag.component else index).get(flag.key))


def _unproved(class_name: str, ref: ModelRef) -> Family:
    """Facts of a class that the table does not know: what the names of its call's arguments say."""
    parameters = call_parameters(class_name)
    if parameters is None and ref.trust_remote_code:
        return UNPROVED
    if parameters is None:
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} is a {class_name}, which the installed diffusers does not have; install one "
            "that has it, or use another model"
        )
    _check_whole(class_name, parameters, ref)
    if "prompt" not in parameters or any(name in parameters for name in _NO_PICTURES):
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} is a {class_name}, which makes no image from text; use another model"
        )
    return replace(
        UNPROVED,
        guidance=Guidance.BRANCHES if "guidance_scale" in parameters else Guidance.NONE,
        takes_negative_prompt="negative_prompt" in parameters,
    )


def _check_whole(class_name: str, parameters: Mapping[str, inspect.Parameter], ref: ModelRef) -> None:
    """Refuse one stage of several, whose call needs what another stage makes."""
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    needed = [
        name for name, each in parameters.items() if each.kind in kinds and each.default is inspect.Parameter.empty
    ]
    others = [name for name in needed if name not in ("self", "prompt")]
    if others and ("prompt" in parameters or others[0].startswith(_OF_PRIORS)):
        raise DarkroomError(
            f"model.repo_id={ref.repo_id} is a {class_name}, whose call needs {others[0]} beside a prompt: one stage "
            "of several; give a folder of all, as AutoPipelineForText2Image.from_pretrained(...).save_pretrained(...) "
            "makes it"
        )


@cache
def call_parameters(class_name: str) -> Mapping[str, inspect.Parameter] | None:
    """Parameters of its pipeline's call; None where the model brings code for it, or is the painter."""
    if class_name not in exported_names():  # which would take seconds to be found out by an import
        return None
    return read_parameters(class_name) or _imported_parameters(class_name)


@loads_models
def _imported_parameters(class_name: str) -> Mapping[str, inspect.Parameter] | None:
    pipeline = pipeline_of(class_name)
    return inspect.signature(pipeline.__call__).parameters if pipeline else None


def pipeline_of(class_name: str) -> Any:
    """The installed diffusers' class of this name; None where it has none."""
    import diffusers
    from transformers.utils import logging

    logging.set_verbosity_error()  # else it tells of packages that some pipelines could use
    return getattr(diffusers, class_name, None)


@cache
def pipeline_modules() -> frozenset[str]:
    """Packages of diffusers' pipelines, some of which hold components: found by their folders, without an import."""
    places = ("*", f"{MOVED}/*")
    return frozenset(path.parent.name for each in places for path in pipelines_folder().glob(f"{each}/__init__.py"))


def is_flow(scheduler: dict[str, Any]) -> bool:
    """Flow matching, by a scheduler of its own or by another one's option."""
    return "FlowMatch" in str(scheduler.get("_class_name")) or bool(
        scheduler.get("use_flow_sigmas") or scheduler.get("prediction_type") == "flow_prediction"
    )


def size_of(family: Family, folder: Path) -> tuple[int | None, int | None]:
    """Height and width in pixels: latent pixels, as the class or the denoiser's config says, times the VAE's scale."""
    scale = vae_scale(folder)
    if family.latent_side is not None:
        return family.latent_side * scale, family.latent_side * scale
    for config in (config_of(folder / name) for name in ("unet", "transformer")):
        height, width = (config.get(name, config.get("sample_size")) for name in ("sample_height", "sample_width"))
        if isinstance(height, int) and isinstance(width, int):
            return height * scale, width * scale
    return None, None


def vae_scale(folder: Path) -> int:
    """Pixels a latent pixel, along one side; 1 without a VAE."""
    vae = config_of(folder / "vae")
    if vae.get("scale_factor_spatial"):
        return int(vae["scale_factor_spatial"])
    if vae.get("spatial_compression_ratio"):
        return int(vae["spatial_compression_ratio"])
    if "temperal_downsample" in vae:  # so spelled, in diffusers
        return int(2 ** len(vae["temperal_downsample"]))
    channels = vae.get("encoder_block_out_channels") or vae.get("block_out_channels") or [0]
    return int(2 ** (len(channels) - 1))


def config_of(folder: Path) -> dict[str, Any]:
    """The configuration of a component, by its folder; empty where it has none."""
    for name in ("config.json", "scheduler_config.json", "guider_config.json"):
        if (folder / name).is_file():
            return json.loads((folder / name).read_bytes())
    return {}


def max_tokens(tokenizer: Path) -> int | None:
    """The limit that a tokenizer's own files say; None where they say none."""
    path = tokenizer / "tokenizer_config.json"
    length = json.loads(path.read_bytes()).get("model_max_length") if path.is_file() else None
    return length if isinstance(length, int) and length < 100_000 else None


# Signatures ----------------------------------------------------------------------------------------------------------


@cache
def pipelines_folder() -> Path:
    """Of the installed diffusers, which is not imported."""
    spec = find_spec("diffusers")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pipelines"


@cache
def exported_names() -> frozenset[str]:
    """Of the installed diffusers, those that lack a package included; all are strings in the file of its imports."""
    return frozenset(re.findall(r'"(\w+)"', (pipelines_folder().parent / "__init__.py").read_text("utf-8")))


def read_parameters(class_name: str) -> Mapping[str, inspect.Parameter] | None:
    """Parameters of the call of the pipeline of this name; a default that is no literal is None.

    None where diffusers has no file that defines the class with a call of its own.
    """
    for path in sorted(pipelines_folder().glob("*/pipeline_*.py")):
        source = path.read_text("utf-8")
        if f"class {class_name}(" in source and (call := _call_of(class_name, ast.parse(source))):
            return {parameter.name: parameter for parameter in _parameters(call.args)}
    return None


def _call_of(class_name: str, module: ast.Module) -> ast.FunctionDef | None:
    classes = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    bodies = (node for found in classes for node in found.body)
    return next((node for node in bodies if isinstance(node, ast.FunctionDef) and node.name == _CALL), None)


def _parameters(found: ast.arguments) -> Iterator[inspect.Parameter]:
    kinds = inspect.Parameter
    named = [*found.posonlyargs, *found.args]
    missing = [None] * (len(named) - len(found.defaults))
    for argument, default in zip(named, [*missing, *found.defaults], strict=True):
        yield kinds(argument.arg, kinds.POSITIONAL_OR_KEYWORD, default=_default(default))
    if found.vararg:
        yield kinds(found.vararg.arg, kinds.VAR_POSITIONAL)
    for argument, default in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        yield kinds(argument.arg, kinds.KEYWORD_ONLY, default=_default(default))
    if found.kwarg:
        yield kinds(found.kwarg.arg, kinds.VAR_KEYWORD)


def _default(value: ast.expr | None) -> Any:
    if value is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None
