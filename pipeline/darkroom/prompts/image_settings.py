"""What image files say of how they were made: of Darkroom, AUTOMATIC1111, ComfyUI, SwarmUI and InvokeAI.

Each tool's reader takes the texts of a file and gives settings by their names here, and the names of what shaped the
picture besides, which is no setting here.
"""

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from darkroom.domain.prompt_syntax import A1111
from darkroom.domain.records import ROW_COLUMNS
from darkroom.domain.settings import NUM_SEEDS, SETTINGS
from darkroom.prompts.comfyui import NoPicture, graph_of_workflow, is_graph, read_graph
from darkroom.prompts.infotext import Infotext, read_infotext
from darkroom.prompts.marks import is_marked, with_syntax
from darkroom.prompts.sampler_names import scheduler_name

_SQUARE = re.compile(r"[\[\]]")
_TEXTS = ("prompt", "negative_prompt")
_SIZE = re.compile(r"(\d+)x(\d+)")
_COMPEL = re.compile(r"\)(\d*\.?\d|[+-])|\w\+")  # weights of InvokeAI's syntax: (word)1.2, word++
_OWN_SCHEDULER = re.compile(r"\w+Scheduler")  # a class of diffusers, of an image by a model's own
# Of A1111's line: what is no setting, says nothing of the picture, or is read together with another.
_INFOTEXT_OF_NO_PICTURE = frozenset(
    ("Model", "Model hash", "Version", "Sampler", "Schedule type", "Size", "Lora hashes", "TI hashes", "Hashes", "RNG",
     "Clip skip", "App")
)  # fmt: skip
_SECOND_PASS = ("Hires", "First pass")  # which has a denoising strength too; "First pass size" until 2023
_INFOTEXT = {each.label: each.name for each in SETTINGS.values() if each.label and each.row} | {"Seed": "seed"}
_SWARM = {
    "seed": "seed",
    "steps": "num_inference_steps",
    "cfgscale": "guidance_scale",
    "width": "width",
    "height": "height",
    "negativeprompt": "negative_prompt",
}
_SWARM_OF_NO_PICTURE = frozenset(("prompt", "model", "sampler", "scheduler", "images", "aspectratio", "swarm_version"))
_INVOKE = {
    "seed": "seed",
    "steps": "num_inference_steps",
    "cfg_scale": "guidance_scale",
    "width": "width",
    "height": "height",
    "negative_prompt": "negative_prompt",
    "clip_skip": "clip_skip",
    "cfg_rescale_multiplier": "guidance_rescale",
}
_INVOKE_OF_NO_PICTURE = frozenset(
    ("positive_prompt", "scheduler", "model", "generation_mode", "app_version", "rand_device", "canvas_v2_metadata",
     "positive_style_prompt", "negative_style_prompt", "_canvas_objects", "workflow", "ref_images")
)  # fmt: skip

Texts = Mapping[str, str]  # of a file, by their names in it


class Unreadable(ValueError):
    """The text is why a file's settings make no row."""


@dataclass(frozen=True)
class Made:
    """How a picture was made, as far as that is a row."""

    tool: str
    values: Mapping[str, Any]  # by the names of columns
    model: str | None = None  # as the tool calls it
    unread: tuple[str, ...] = field(default=())  # what shaped the picture besides, by the tool's names

    @property
    def row(self) -> dict[str, Any]:
        """Columns and their values; a seed that is too large for ours, and draws other noise anyway, is left out."""
        values = {name: _said(value) for name, value in self.values.items() if value is not None}
        seed = values.pop("seed", None)
        is_too_large = isinstance(seed, int) and seed >= NUM_SEEDS
        unread = [*self.unread, *(["seed"] if is_too_large else [])]
        values |= {} if seed is None or is_too_large else {"seed": seed}
        return {**values, "made_by": self.tool, "made_with": self.model, "not_read": unread}


def _said(value: Any) -> Any:
    """A number that is none as its text, which is refused where columns are checked; NaN would be an empty cell."""
    return str(value) if isinstance(value, float) and math.isnan(value) else value


def made_of(texts: Texts) -> Made:
    """How the picture was made of a file with these texts. Raises Unreadable where they do not say, or in no way that
    can be repeated."""
    for name, read in _READERS.items():
        try:
            if name in texts and (made := read(texts[name])):
                return made
        except (AttributeError, IndexError, KeyError, TypeError, RecursionError) as error:  # it was not checked
            raise Unreadable(f"it says how it was made in a form that is not known ({type(error).__name__})") from error
    raise Unreadable("it says nothing of how it was made")


# Darkroom ------------------------------------------------------------------------------------------------------------


def _darkroom(text: str) -> Made | None:
    said = _json(text)
    if not isinstance(said, dict) or "image_id" not in said:
        return None
    values = {name: said[name] for name in ("prompt", *ROW_COLUMNS) if name in said}
    for name in ("num_images_per_prompt", "prompt_id"):
        values.pop(name, None)
    others = [name for name in SETTINGS if name in said and name not in values and name not in ("repo_id", "dtype")]
    parts = ["model_parts"] if said.get("model_parts") else []
    return Made("darkroom", values, said.get("model"), (*others, *parts))


# AUTOMATIC1111 -------------------------------------------------------------------------------------------------------


def _parameters(text: str) -> Made | None:
    """`parameters`: A1111's line, or JSON in which SwarmUI says the same."""
    return _swarm(text) if text.lstrip().startswith("{") and "sui_image_params" in text else _infotext(text)


def _infotext(text: str) -> Made | None:
    found = read_infotext(text)
    if not found.fields:
        return None
    fields = found.fields
    if "Denoising strength" in fields and not any(name.startswith(_SECOND_PASS) for name in fields):
        raise Unreadable("it was made of another image (it has a denoising strength), which the file does not hold")
    values: dict[str, object] = {
        name: _number(fields[label]) for label, name in _INFOTEXT.items() if label in fields and name != "scheduler"
    }
    values |= {"prompt": found.prompt, "negative_prompt": found.negative_prompt, **_infotext_scheduler(found)}
    if size := _SIZE.fullmatch(fields.get("Size", "")):
        values |= {"width": int(size[1]), "height": int(size[2])}
    if fields.get("Clip skip", "").isdigit():
        values["clip_skip"] = max(0, int(fields["Clip skip"]) - 1)
    unread = [name for name in fields if name not in _INFOTEXT and name not in _INFOTEXT_OF_NO_PICTURE]
    unread += [] if "scheduler" in values or "Sampler" not in fields else ["Sampler"]
    return Made("a1111", with_syntax(values), fields.get("Model"), tuple(unread))


def _number(text: str) -> int | float | str:
    """As a number where it is one; another text is refused where columns are checked."""
    for kind in (int, float):
        with suppress(ValueError):
            if "_" not in text:  # which Python reads as nothing
                return kind(text)
    return text


def _infotext_scheduler(found: Infotext) -> dict[str, str]:
    sampler = found.fields.get("Sampler", "")
    if not sampler or _OWN_SCHEDULER.fullmatch(sampler):
        return {}
    return {"scheduler": scheduler_name(sampler, found.fields.get("Schedule type", ""))}


# ComfyUI and SwarmUI -------------------------------------------------------------------------------------------------


def _comfyui(text: str) -> Made | None:
    said = _json(text)
    if isinstance(said, dict) and isinstance(said.get("nodes"), list):
        said = graph_of_workflow(said)
    if not isinstance(said, dict) or not is_graph(said):
        return None
    try:
        found = read_graph(said)
    except NoPicture as error:
        raise Unreadable(str(error)) from error
    skip = found.clip_layer
    values = {
        "prompt": found.prompt,
        "negative_prompt": found.negative_prompt,
        "seed": found.seed,
        "num_inference_steps": found.steps,
        "guidance_scale": found.guidance,
        "scheduler": scheduler_name(str(found.sampler), str(found.schedule or ""), found.is_flow)
        if found.sampler
        else None,
        "width": found.width,
        "height": found.height,
        "clip_skip": -skip - 1 if isinstance(skip, int) and skip < -1 else None,
    }
    return Made("comfyui", _without_squares(values), found.model, found.unread)


def _swarm(text: str) -> Made | None:
    said = _json(text)
    given = said.get("sui_image_params") if isinstance(said, dict) else None
    if not isinstance(given, dict):
        return None
    if "initimage" in given:
        raise Unreadable("it was made of another image (initimage), which the file does not hold")
    values = {ours: given[name] for name, ours in _SWARM.items() if name in given}
    if "sampler" in given:
        values["scheduler"] = scheduler_name(str(given["sampler"]), str(given.get("scheduler") or ""))
    unread = [name for name in given if name not in _SWARM and name not in _SWARM_OF_NO_PICTURE]
    values["prompt"] = given.get("prompt")
    return Made("swarmui", _without_squares(values), given.get("model"), tuple(unread))


def _without_squares(values: Mapping[str, Any]) -> dict[str, Any]:
    """Texts of ComfyUI, which knows no [word]: such brackets are escaped where a text has weights, for our reader."""
    texts = {name: text for name in _TEXTS if isinstance(text := values.get(name), str)}
    if not any(is_marked(_SQUARE.sub("", text)) for text in texts.values()):
        return dict(values)
    escaped = {name: _SQUARE.sub(r"\\\g<0>", text) for name, text in texts.items()}
    return {**values, **escaped, "prompt_syntax": A1111}


# InvokeAI ------------------------------------------------------------------------------------------------------------


def _invokeai(text: str) -> Made | None:
    said = _json(text)
    if not isinstance(said, dict) or "positive_prompt" not in said:
        return None
    mode = str(said.get("generation_mode") or "txt2img")
    if not mode.endswith("txt2img"):
        raise Unreadable(f"it was made by {mode} of another image, which the file does not hold")
    values = {ours: said[name] for name, ours in _INVOKE.items() if name in said}
    values["prompt"] = said["positive_prompt"]
    if said.get("scheduler"):
        values["scheduler"] = scheduler_name(str(said["scheduler"]))
    model = said.get("model")
    name = (model.get("name") or model.get("model_name")) if isinstance(model, dict) else model
    known = {*_INVOKE, *_INVOKE_OF_NO_PICTURE}
    unread = [name for name, value in said.items() if name not in known and value not in (None, [], "", 0, False)]
    unread += ["weights in prompts"] if any(_COMPEL.search(str(values.get(each, ""))) for each in _TEXTS) else []
    return Made("invokeai", values, name, tuple(unread))


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


# By the names of texts in files, those that say most first.
_READERS: Mapping[str, Callable[[str], Made | None]] = {
    "darkroom": _darkroom,
    "invokeai_metadata": _invokeai,
    "parameters": _parameters,
    "prompt": _comfyui,
    "workflow": _comfyui,
}


NAMES = frozenset(_READERS)


def texts_of_json(text: str) -> Iterator[tuple[str, str]]:
    """A file of JSON beside or in the place of an image, as the texts that an image would have."""
    said = _json(text)
    if isinstance(said, dict):
        name = "parameters" if "sui_image_params" in said else "invokeai_metadata" if "positive_prompt" in said else ""
        yield (name or ("workflow" if "nodes" in said else "darkroom" if "image_id" in said else "prompt")), text
