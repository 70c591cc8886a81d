"""A model that was inspected: what its small files say of it, its tokenizer, and what its call takes and makes by
itself, against what a cell asks of it.
"""

import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity
from darkroom.domain.prompt_syntax import PLAIN
from darkroom.domain.settings import OF_CONTROL, OF_IMAGE, OF_VIDEOS, Value
from darkroom.rendering.description import PlugIn
from darkroom.rendering.family import STEERED, UNPROVED, Family, Guidance, Size, Tokens
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import call_parameters, config_of, vae_scale
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.part_files import PartFile
from darkroom.rendering.single_file import SingleFile


@dataclass(frozen=True)
class InspectedModel:
    """A model that can be loaded, and what a run needs to know of it first."""

    identity: ModelIdentity
    source: str  # folder, hub id or address to load from
    revision: str | None  # hub commit; None for others
    variant: str | None
    height: int | None  # pixels that the model was trained for
    width: int | None
    is_flow: bool  # flow matching, not diffusion
    max_prompt_tokens: int | None  # start and end included
    folder: str | None  # where its small files lie on this machine; None for a renderer without a model
    family: Family = UNPROVED  # what its class's call means, with what its configuration says of it
    tokens: Tokens | None = None  # the tokenizer that reads most of a prompt; its limit is `max_prompt_tokens`
    absent: tuple[str, ...] = ()  # components that the model lacks, such as SD3's third text encoder
    digests: tuple[tuple[str, str], ...] = field(default=(), repr=False)  # of files in `folder`, by their names
    plug_in: PlugIn | None = None  # a renderer of one's own
    parts: tuple[PartFile, ...] = ()  # what is added to it
    single_file: SingleFile | None = None  # that its folder was made of
    execution: Mapping[str, Value] = field(
        default_factory=dict, hash=False
    )  # settings of how it is held, where they do something

    @property
    def is_distilled(self) -> bool:
        """Guidance is no difference of two predictions: the scale is an input, as of latent consistency models."""
        return self.family.guidance is not Guidance.BRANCHES


def shared_models(models: Iterable[InspectedModel]) -> list[InspectedModel]:
    """What is loaded for these models: one for all that differ in LoRAs alone, with the LoRAs of all."""
    found: dict[ModelIdentity, InspectedModel] = {}
    for model in models:
        known = found.setdefault(model.identity.base, replace(model, identity=model.identity.base, parts=()))
        parts = {file.part.revision: file for file in (*known.parts, *model.parts)}
        found[model.identity.base] = replace(known, parts=tuple(parts.values()))
    return list(found.values())


def token_counter(model: InspectedModel) -> Callable[[list[str]], list[int]] | None:
    """As `counter_of` has it, by the tokenizer that reads most of prompts."""
    assert model.folder
    assert model.tokens
    return counter_of(Path(model.folder), model.tokens)


@loads_models
def counter_of(folder: Path, tokens: Tokens) -> Callable[[list[str]], list[int]] | None:
    """A function that counts the tokens of prompts, start and end included, by a tokenizer of the model in this folder;
    None where the model brings code for it. The class is read from model_index.json: AutoTokenizer would ask on stdin
    whether to run such code."""
    import transformers

    library, name = json.loads((folder / INDEX).read_bytes())[tokens.name]
    if library != "transformers":
        return None
    tokenizer = text_tokenizer(getattr(transformers, name).from_pretrained(folder / tokens.name))
    return partial(count_tokens, tokenizer, before=tokens.before)


def text_tokenizer(part: Any) -> Any:
    """A pipeline's tokenizer; of a processor, which takes pictures too and is called otherwise, the one in it."""
    return getattr(part, "tokenizer", part) if hasattr(part, "image_processor") else part


def count_tokens(tokenizer: Any, prompts: list[str], before: str = "") -> list[int]:
    """Tokens of each prompt, start and end and the text before it included, none cut off."""
    texts = [before + prompt for prompt in prompts]
    return [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False).input_ids] if prompts else []


# Its call ------------------------------------------------------------------------------------------------------------


def call_default(model: InspectedModel, name: str) -> Any:
    """The value that a model's call has for an argument that is not given; None where it names none.

    The size and frames are read from the model's files where these say them, everything else from its pipeline's
    signature; of frames a second, which most calls are not told, it is what the table of families says.
    """
    size = {"height": model.height, "width": model.width}.get(name)
    if size is not None:
        return size
    if name == "guidance_scale":
        return _guidance_default(model)
    if name == "fps":
        return model.family.fps
    if name == "num_frames" and model.family.frames_unit and model.folder:
        said = config_of(Path(model.folder) / "transformer").get("sample_frames")
        return said or _signature_default(model, name)
    return _signature_default(model, name)


def _guidance_default(model: InspectedModel) -> Any:
    family = model.family
    if family.guidance is Guidance.NONE:
        return 0.0
    if family.guider and family.guidance is Guidance.BRANCHES:
        assert model.folder
        return config_of(Path(model.folder) / family.guider).get("guidance_scale")
    return _signature_default(model, family.guidance_argument)


def _signature_default(model: InspectedModel, name: str) -> Any:
    parameter = (call_parameters(model.identity.pipeline_class) or {}).get(name)
    return parameter.default if parameter and isinstance(parameter.default, int | float) else None


def check_arguments(names: Iterable[str], model: InspectedModel, remedy: str) -> None:
    """Refuse settings that the model's pipeline does not take; `remedy` has a place for the setting's name."""
    parameters = call_parameters(model.identity.pipeline_class)
    for name in names:
        if not _is_taken(name, model.family, parameters):
            raise DarkroomError(
                f"sampling.{name}: {model.identity.pipeline_class} of {model.identity.repo_id} takes no {name}; "
                f"{remedy.format(name)}"
            )


def check_size(size: Size, model: InspectedModel, source: str = "sampling.") -> None:
    """Refuse a size that the model's pipeline fails on, or makes none of. `source`: comes before a setting's name."""
    unit, rounds = size_unit(model), model.family.made_size is not None
    for name, value, made in zip(("height", "width"), size, made_size(size, model), strict=True):
        if not made or (value % unit and not rounds):
            lower = max(value - value % unit, unit)
            raise DarkroomError(
                f"{source}{name}={value}: {model.identity.pipeline_class} of {model.identity.repo_id} makes multiples "
                f"of {unit} alone; give {name}={lower}, or another multiple"
            )


def check_num_frames(num_frames: int | None, model: InspectedModel, source: str = "sampling.") -> None:
    """Refuse a number of frames that the model's pipeline would round. `source`: comes before the setting's name."""
    unit = model.family.frames_unit
    if num_frames is None or unit is None or num_frames % unit == 1 % unit:
        return
    lower = (num_frames - 1) // unit * unit + 1
    raise DarkroomError(
        f"{source}num_frames={num_frames}: {model.identity.pipeline_class} of {model.identity.repo_id} makes multiples "
        f"of {unit} and one more; give num_frames={lower} or {lower + unit}"
    )


def resized(size: Size, model: InspectedModel) -> str | None:
    """Which other size is made where one cannot be, for people."""
    made = made_size(size, model)
    return None if made == size else f"{made[1]}x{made[0]} of {size[1]}x{size[0]}"


def made_size(size: Size, model: InspectedModel) -> Size:
    """What the model's pipeline makes of a size, where it fails on none."""
    family = model.family
    return family.made_size(size, size_unit(model)) if family.made_size else size


def makes_all_sizes(model: InspectedModel) -> bool:
    """Whether that is every multiple of 8, as the heights and widths of settings and rows are."""
    return model.family.made_size is None and 8 % size_unit(model) == 0


def size_unit(model: InspectedModel) -> int:
    """Pixels of which a height or width is a multiple."""
    family = model.family
    if not family.unit_of_latents:
        return family.unit
    assert model.folder
    return family.unit * vae_scale(Path(model.folder))


def check_clip_skip(name: str, clip_skip: int, model: InspectedModel) -> None:
    """Refuse to leave out as many layers as a CLIP text encoder of the model has, or more."""
    if not (clip_skip and model.folder):
        return
    found = (config_of(Path(model.folder) / each) for each in ("text_encoder", "text_encoder_2"))
    depths = [each["num_hidden_layers"] for each in found if "CLIP" in str(each.get("architectures"))]
    if depths and clip_skip >= min(depths):
        raise DarkroomError(
            f"{name}={clip_skip}: the text encoder of {model.identity.repo_id} has {min(depths)} layers; give "
            f"{min(depths) - 1} or less"
        )


def check_prompt_syntax(name: str, syntax: str, model: InspectedModel) -> None:
    """Refuse weights of words where the model's pipeline is given prompts as text. What has no files takes any."""
    if syntax != PLAIN and model.folder and model.identity.pipeline_class not in STEERED:
        raise DarkroomError(
            f"{name}={syntax}: {model.identity.pipeline_class} of {model.identity.repo_id} is given prompts as text, "
            f"where words have no weights; leave it out, or use one of {', '.join(STEERED)}"
        )


def _is_taken(name: str, family: Family, parameters: Mapping[str, inspect.Parameter] | None) -> bool:
    if name == "negative_prompt":
        return family.takes_negative_prompt
    if name == "guidance_scale":
        return family.guidance is not Guidance.NONE
    if name in OF_VIDEOS:
        return family.frames_unit is not None
    if name in OF_IMAGE:  # of the classes that make images from pictures
        return bool(family.img2img or family.inpaint)
    if name in OF_CONTROL:
        return family.controlnets is not None
    return parameters is None or name in parameters
