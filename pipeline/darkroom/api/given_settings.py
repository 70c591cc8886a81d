"""Settings as a caller gives them, by their names: checked, and told apart into the model's and those of sampling."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.setting_values import as_said, checked_table, checked_value, unknown
from darkroom.domain.settings import SETTINGS, ModelRef, Sampling, Setting, Value, settings_of
from darkroom.domain.source_code import is_function_name

ALSO_AN_AXIS = "it is an axis of the grid as well; leave one of them out"


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


def check_beside_axes(given: Mapping[str, Any], axes: Mapping[str, Sequence[Value]]) -> None:
    """Raises DarkroomError for a value, of those that are given by their settings' names, that no cell would have."""
    for name, values in axes.items():
        if name in given and is_on_no_cell(SETTINGS[name], given[name], values):
            raise DarkroomError(f"{_key(SETTINGS[name])}={as_said(given[name])}: {ALSO_AN_AXIS}")


def is_on_no_cell(setting: Setting, value: Any, axis: Sequence[Any]) -> bool:
    """Whether a value has no effect, since the setting is an axis too; a default stands for none. What is no setting of
    images is the run's own as well."""
    is_of_run = setting in settings_of(Sampling) and not setting.of_image
    return not is_of_run and value not in (setting.default, *axis)


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
