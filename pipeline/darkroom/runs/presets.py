"""Models that have a name of their own: the files of conf/model that say which model they are."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path

import yaml

from darkroom.domain.setting_values import checked_table
from darkroom.domain.settings import ModelRef

_FOLDER = Path(__file__).parents[1] / "conf" / "model"


@cache
def presets() -> Mapping[str, ModelRef]:
    """Name to model with its usual settings."""
    files = {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in sorted(_FOLDER.glob("*.yaml"))}
    keys = {name: {key: value for key, value in file.items() if key != "defaults"} for name, file in files.items()}
    named = {name: given for name, given in keys.items() if given.keys() & {"repo_id", "make"}}
    return {name: checked_table(ModelRef, {"repo_id": "", **given}, "model") for name, given in named.items()}


def with_preset(ref: ModelRef, name: str) -> ModelRef:
    """The preset of this name in the place of another model: its usual settings, but where `ref` says something else
    than is usual of its own model.
    """
    known = [each for each in presets().values() if each.repo_id == ref.repo_id] or [ModelRef(ref.repo_id)]
    said = [{each: value for each, value in vars(ref).items() if value != getattr(usual, each)} for usual in known]
    return replace(presets()[name], **min(said, key=len))  # of several with one model, by the one that it is most like


def preset_of(repo_id: str) -> str | None:
    """The name of a model that comes with Darkroom; one of a hub is named by its id."""
    return next((name for name, ref in presets().items() if ref.repo_id == repo_id and _is_embedded(ref)), None)


def _is_embedded(ref: ModelRef) -> bool:
    return ref.repo_id.startswith("darkroom/")
