"""Renderers of one's own in the place of a model: the settings that they take, and what a stored run says of one.

Importing a renderer runs its code, and its options may name an address or a secret. So nothing of that is taken from a
run: who renders again says `model.make`, and the options that are places, anew.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from darkroom.api.options import ModelPlace
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_said
from darkroom.domain.settings import IMAGE_SETTINGS, UNTAKEN, ModelRef, Sampling, Setting, Value
from darkroom.domain.source_code import imported_function
from darkroom.rendering.description import SIZE, PlugIn, place_options
from darkroom.rendering.schedulers import DEFAULT
from darkroom.runs.cells import CellInfo

_IMAGE_NAMES = frozenset(each.name for each in IMAGE_SETTINGS)


def plug_in_value(setting: Setting, given: Value, plug_in: PlugIn) -> Value:
    """What a cell says of a setting; of one that the renderer does not take, that there is none. Raises DarkroomError
    where such a one is given. What it takes and says no default of is None, unless the command's default is a value."""
    if not setting.of_image or setting.name in plug_in.description.takes:
        return plug_in.default(setting.name) if given is None else given
    unsaid = setting.neutral if setting.from_model and setting.has_neutral else setting.default
    fixed = plug_in.default(setting.name) if setting.name in SIZE else UNTAKEN.get(setting.name, unsaid)
    if given not in (None, fixed, setting.default):
        raise DarkroomError(
            f"sampling.{setting.name}={as_said(given)}: {_takes_none(setting.name, plug_in)}; leave it out"
        )
    return fixed


def check_plug_in_settings(sampling: Sampling, plug_in: PlugIn) -> None:
    """Raises DarkroomError for a size or a scheduler that it has not."""
    _check_plug_in_scheduler(sampling.scheduler, plug_in)
    fault = plug_in.size_fault(sampling.height, sampling.width)
    if fault:
        raise DarkroomError(f"sampling.height={sampling.height}, sampling.width={sampling.width}: {fault}")


def plug_in_fault(sampling: Sampling, plug_in: PlugIn) -> str | None:
    """The same of a row: why it cannot be rendered."""
    try:
        _check_plug_in_scheduler(sampling.scheduler, plug_in, "its scheduler")
    except DarkroomError as error:
        return str(error)
    return plug_in.size_fault(sampling.height, sampling.width)


def _check_plug_in_scheduler(name: str, plug_in: PlugIn, said: str = "sampling.scheduler") -> None:
    known = (DEFAULT, *plug_in.description.schedulers)
    if name not in known:
        raise DarkroomError(f"{said}={name}: {plug_in.description.name} has no such; give one of {', '.join(known)}")


def check_columns(overriding: Iterable[str], plug_in: PlugIn) -> None:
    """Raises DarkroomError for settings in the prompt file that it does not take."""
    for name in overriding:
        if name in _IMAGE_NAMES and name not in plug_in.description.takes:
            raise DarkroomError(
                f"column {name!r} of the prompts: {_takes_none(name, plug_in)}; prompts.columns.{name}=null leaves it "
                "unread"
            )


def _takes_none(name: str, plug_in: PlugIn) -> str:
    taken = ", ".join(each for each in plug_in.description.takes) or "none"
    return f"{plug_in.description.name} takes no {name}, of all settings these: {taken}"


def warnings_of(plug_in: PlugIn) -> Iterator[str]:
    if not plug_in.description.is_seeded:
        yield (
            f"{plug_in.description.name} makes no promise about seeds: an image that is rendered again is another one, "
            "which `is_seeded` in records says"
        )


# Of a stored run -----------------------------------------------------------------------------------------------------


def trusted_ref(info: CellInfo, place: ModelPlace) -> ModelRef:
    """The renderer of a run's cell, as far as the caller's own words go. Raises DarkroomError where they do not name
    it."""
    ref, start = info.ref, f"cell {info.cell.cell_id}: its images are made by model.make={info.ref.make}"
    if place.make != ref.make:
        raise DarkroomError(f"{start}, which runs where it is named alone; give model.make={ref.make} if you trust it")
    places, said = place_options(imported_function(ref.make or "", "model.make=")), dict(place.options or {})
    for name, value in ref.given_options.items():
        if name in places and value is not None and name not in said:
            raise DarkroomError(
                f"{start} at model.options.{name}={value}, and a stored run decides no place; give "
                f"'model.options={{{name}: ...}}' too"
            )
    given = {**ref.given_options, **said}
    return replace(ref, options=given or None)


def words_for(infos: Iterable[CellInfo]) -> Mapping[str, Any]:
    """What a later command must say of these cells' renderers, in the words of ModelPlace, as far as they share it."""
    refs = [info.ref for info in infos if info.ref.make]
    if len({ref.make for ref in refs}) != 1:
        return {}
    first, *others = map(_places, refs)
    places = first if all(each == first for each in others) else {}
    return {"model.make": refs[0].make} | ({"model.options": places} if places else {})


def _places(ref: ModelRef) -> dict[str, Any]:
    places = place_options(imported_function(ref.make or "", "model.make="))
    return {name: value for name, value in ref.given_options.items() if name in places and value is not None}
