"""Settings as a caller gives them, by their names: checked, and told apart into the model's and those of sampling."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.setting_values import checked_table, checked_value, unknown
from darkroom.domain.settings import SETTINGS, ModelRef, Sampling, Setting, Value, settings_of
from darkroom.domain.source_code import is_function_name


def sampling_defaults() -> dict[str, Value]:
    """What is asked for where nothing is said; None: what the model says."""
    return {each.name: each.default for each in settings_of(Sampling)}


def with_settings(
    model: ModelRef, sampling: Mapping[str, Value], settings: Mapping[str, Any]
) -> tuple[ModelRef, dict[str, Value]]:
    """Both with these settings by their names, checked; an unknown one is refused with the nearest name."""
    for name in settings:
        if name not in SETTINGS:
            raise DarkroomError(unknown(name, tuple(SETTINGS), "setting"))
    given: dict[str, Any] = {name: _setting_value(SETTINGS[name], value) for name, value in settings.items()}
    named = {each.name: given[each.name] for each in settings_of(ModelRef) if each.name in given}
    shaped = {each.name: given[each.name] for each in settings_of(Sampling) if each.name in given}
    return checked_model(replace(model, **named)), {**sampling, **shaped}


def _setting_value(setting: Setting, value: Any) -> Any:
    """As the setting's kind, in its range. Raises DarkroomError."""
    return checked_value(setting, value, _key(setting))


def _key(setting: Setting) -> str:
    return f"{'sampling' if setting in settings_of(Sampling) else 'model'}.{setting.name}"


def checked_model(model: ModelRef) -> ModelRef:
    """The same, with its settings as their kinds. Raises DarkroomError for a model without a name, or with a setting
    that cannot be."""
    model = checked_table(ModelRef, vars(model), "model")
    if not model.repo_id and not model.make:
        raise DarkroomError("model.repo_id has no value; give a hub id or a local folder, or model.make=my_module:make")
    if model.options and not model.make:
        raise DarkroomError("model.options: is for a renderer of one's own; leave it out, or give model.make=...")
    if model.make and not is_function_name(model.make):
        raise DarkroomError(f"model.make={model.make}: no name of a function; give it as my_module:make")
    if has_credentials(model.repo_id):
        raise credentials_in("model.repo_id")
    return model
