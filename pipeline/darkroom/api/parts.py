"""What a cell's model has beside its own files: parts that are added to it, or a renderer of one's own. Digests decide.

Importing a renderer runs its code, and its options may name an address or a secret. So nothing of that is taken from a
run: who renders again says `model.make`, and the options that are places, anew.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkroom.api.options import ModelPlace
from darkroom.demo import LORAS
from darkroom.domain.adapters import NO_LORA, Part, unknown_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_said, unknown
from darkroom.domain.settings import IMAGE_SETTINGS, PARTS, SETTINGS, UNTAKEN, ModelRef, Sampling, Setting, Value
from darkroom.domain.source_code import imported_function
from darkroom.prompts.dataset import PromptScan
from darkroom.rendering.description import SIZE, PlugIn, place_options
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.part_files import PartFile, digests_of, files_at, is_local, revision_of
from darkroom.rendering.schedulers import DEFAULT
from darkroom.runs.cells import CellInfo

_EMBEDDED = "darkroom/"  # begins the name of what is embedded
_EMBEDDED_LORAS = {f"{_EMBEDDED}{style}": str(file) for style, file in LORAS.items()}
_IMAGE_NAMES = frozenset(each.name for each in IMAGE_SETTINGS)


def with_places(ref: ModelRef) -> ModelRef:
    """The same, with parts that lie on this machine by their absolute paths."""
    parts: dict[str, Any] = {each.name: _located_part(getattr(ref, each.name)) for each in PARTS}
    return replace(ref, **parts, single_file=_located_part(ref.single_file))


def _located_part(value: Any) -> Any:
    """Of a setting that names parts: a path, or entries that have one."""
    if isinstance(value, tuple):
        return tuple(replace(each, path=_located_path(each.path)) for each in value)
    return _located_path(value) if value else value


def _located_path(path: str) -> str:
    """Of a part that lies here, the absolute path, of a link that of the link itself; a hub id stays, and so does the
    name of an embedded one, whatever file is called so here."""
    if path.rstrip("/") in _EMBEDDED_LORAS:
        return path.rstrip("/")
    return os.path.abspath(Path(path).expanduser()) if is_local(path) else path  # noqa: PTH100 - `resolve` follows links


def with_lora_files(ref: ModelRef) -> ModelRef:
    """The same, with the files of embedded LoRAs in the place of their names."""
    return replace(ref, loras=tuple(replace(each, path=_lora_file(each.path)) for each in ref.loras))


def _lora_file(path: str) -> str:
    path = path.rstrip("/") if path.startswith(_EMBEDDED) else path
    if path.startswith(_EMBEDDED) and path not in _EMBEDDED_LORAS and path.count("/") == 1:
        raise DarkroomError(f"model.loras {unknown(path, tuple(_EMBEDDED_LORAS), 'embedded LoRA')}")
    return _EMBEDDED_LORAS.get(path, path)


def with_lora_names(text: str) -> str:
    """A message, with the names of embedded LoRAs in the place of their files."""
    for name, file in _EMBEDDED_LORAS.items():
        text = text.replace(file, name)
    return text


def check_loras(sampling: Sampling, model: InspectedModel) -> None:
    """Refuse names that no LoRA of the model has, and a weight of none."""
    loras = model.identity.loras
    for name in unknown_loras(loras, sampling.lora):
        raise DarkroomError(no_lora(f"sampling.lora={sampling.lora}", name, model))
    if not loras and SETTINGS["lora_weight"].does_something(sampling.lora_weight):
        raise DarkroomError(
            f"sampling.lora_weight={sampling.lora_weight:g}: {model.identity.repo_id} has no LoRA; leave it out, or "
            "give model.loras=[...]"
        )


def no_lora(said: str, name: str, model: InspectedModel, *, is_tag: bool = False) -> str:
    """What is said of a name that no LoRA of a model has, and where it stands."""
    known = [*([] if is_tag else [NO_LORA]), *(part.name for part in model.identity.loras)]
    give = f"give one of {', '.join(known)}, or " if known else ""
    return f"{said}: {model.identity.repo_id} has no LoRA {name!r}; {give}add it to model.loras=[...]"


def check_rows_loras(scan: PromptScan, model: InspectedModel, is_recording: bool) -> None:
    """Rows may name LoRAs of each cell's model, which a reader of prompts does not know. `is_recording`: rows that name
    others are recorded."""
    leave = "prompts.columns.{}=null leaves its column unread"
    for value in scan.loras if not is_recording else ():
        for name in unknown_loras(model.identity.loras, value):
            raise DarkroomError(f"{no_lora(f'column lora={value}', name, model)}; or {leave.format('lora')}")
    if scan.num_overriding.get("lora_weight") and not model.identity.loras:
        raise DarkroomError(
            f"column lora_weight: {model.identity.repo_id} has no LoRA; give model.loras=[...]; "
            f"{leave.format('lora_weight')}"
        )


# Of a stored run -----------------------------------------------------------------------------------------------------


def without_parts(ref: ModelRef) -> ModelRef:
    """The model alone."""
    none: dict[str, Any] = {each.name: each.neutral for each in PARTS}
    return replace(ref, **none)


def parts_of(info: CellInfo, places: Sequence[str]) -> tuple[PartFile, ...]:
    """The files of what was added to a cell's model, where they lay or in one of these places; the digest decides."""
    values = [getattr(info.ref, each.name) for each in PARTS]
    named = [
        _EMBEDDED_LORAS.get(each.path, each.path) for value in values if isinstance(value, tuple) for each in value
    ]
    named += [value for value in values if isinstance(value, str)]
    return tuple(_part_of(part, path, places) for part, path in zip(info.cell.model.parts, named, strict=True))


def _part_of(part: Part, path: str, places: Sequence[str]) -> PartFile:
    label, said = f"model.{part.kind} {part.name}", []
    for place in [*(file for folder in places for file in files_at(_lora_file(folder), part.kind)), path]:
        try:
            digests = digests_of(part.kind, place, f"{label} ({place})")
        except DarkroomError as error:
            said.append(str(error))
            continue
        if (found := revision_of(digests)) == part.revision:
            return PartFile(part, place, tuple(digests.items()))
        said.append(f"{label} ({place}) is {found}, and the run was made with {part.revision}")
    raise DarkroomError(
        f"{said[-1]}; restore it, or give the file or its folder, as it lies now, as model.adapters=[...]"
    )


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
    schedulers = (DEFAULT, *plug_in.description.schedulers)
    if sampling.scheduler not in schedulers:
        raise DarkroomError(
            f"sampling.scheduler={sampling.scheduler}: {plug_in.description.name} has no such; give one of "
            f"{', '.join(schedulers)}"
        )
    fault = plug_in.size_fault(sampling.height, sampling.width)
    if fault:
        raise DarkroomError(f"sampling.height={sampling.height}, sampling.width={sampling.width}: {fault}")


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
