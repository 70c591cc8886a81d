"""Cells of a request: settings checked against the model that they are for, which is found by its small files.

The models of a run's cells are found in the same way: where they lay, or where the caller says that they lie now.
Digests decide, not names.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darkroom.api.entries import unknown
from darkroom.api.options import ModelPlace, checked_model, with_settings
from darkroom.demo import MODEL_FOLDER
from darkroom.domain.adapters import NO_LORA, Part, unknown_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, ModelIdentity
from darkroom.domain.settings import ARGUMENTS, FLOAT8, SETTINGS, ModelRef, Sampling, Setting, Value, settings_of
from darkroom.engine.planning import Grid, Settings, expand
from darkroom.rendering.inspection import (
    STEERED,
    InspectedModel,
    call_default,
    check_arguments,
    inspect_model,
)
from darkroom.rendering.model_files import INDEX
from darkroom.rendering.part_files import PartFile, digests_of, files_at, is_local, revision_of
from darkroom.rendering.renderer import PAINT_DEFAULTS, PAINT_REPO_ID, paint_model
from darkroom.rendering.schedulers import DEFAULT, check_scheduler
from darkroom.runs.cells import CellInfo

DEMO_REPO_ID = "darkroom/demo"
OPTIONAL_ARGUMENTS = frozenset(each.name for each in ARGUMENTS if each.has_neutral)  # which not every pipeline takes
PARTS = tuple(each for each in settings_of(ModelRef) if each.is_part)
_REMEDY = "give the model's place, or the folder that holds all models of the run, as model.repo_id=..."
FindModel = Callable[[ModelRef, str], InspectedModel]


@dataclass(frozen=True)
class CheckedCell:
    """A cell, and the model that it needs."""

    info: CellInfo
    model: InspectedModel

    @property
    def cell(self) -> Cell:
        return self.info.cell

    def called_as(self, repo_id: str) -> "CheckedCell":
        """The same, with its model called so in images and records."""
        identity = replace(self.cell.model, repo_id=repo_id)
        info = replace(self.info, cell=replace(self.cell, model=identity))
        return CheckedCell(info, replace(self.model, identity=identity))


def checked_cell(
    ref: ModelRef, asked: Mapping[str, Value], run: Mapping[str, Value], device: str, find: FindModel
) -> CheckedCell:
    """A cell whose model is there and whose settings fit it; `run`: the sampling that the cells of a run share, where
    this one may differ in the rest."""
    ref = located(ref)
    model = find(ref, device)
    sampling = _sampling(asked, model, run)
    check_scheduler(sampling.scheduler, model)
    _check_lossy(sampling, model)
    check_loras(sampling, model)
    check_taken([name for name in sampling.effective if name in OPTIONAL_ARGUMENTS], model, "leave it out")
    if model.identity.dtype == FLOAT8 and device == "mps":
        raise DarkroomError("model.dtype=float8: mps has no float8; use model.dtype=bfloat16")
    return CheckedCell(CellInfo(ref, Cell(model.identity, sampling)), model)


def grid_cell(
    model: ModelRef, sampling: Mapping[str, Value], settings: Settings, device: str, find: FindModel
) -> CheckedCell:
    """A model and sampling with a grid cell's settings on top."""
    said = ", ".join(f"{name}={'null' if value is None else value}" for name, value in settings.items())
    try:
        for name in settings:
            _check_axis(name)
        return checked_cell(*with_settings(model, sampling, settings), sampling, device, find)
    except DarkroomError as error:
        raise DarkroomError(f"grid cell ({said}): {error}") from error


def grid_settings(grid: Grid) -> list[Settings]:
    """Each cell's settings. Raises DarkroomError for an axis without a value, for a rule of exclude that has an unknown
    setting or no cell, and for a grid without a cell.
    """
    for name, values in grid.axes.items():
        if not len(values):
            raise DarkroomError(f"grid.axes.{name}=[] has no value; give some, or leave the axis out")
    for rule in grid.exclude:
        for name in rule:
            if name not in SETTINGS:
                raise DarkroomError(f"grid.exclude: {unknown(name, tuple(SETTINGS), 'setting')}")
    return expand(grid)


def _check_axis(name: str) -> None:
    axes = [each.name for each in SETTINGS.values() if each.axis]
    if name not in axes:
        raise DarkroomError(f"no setting {name!r} tells cells apart; those that do are {', '.join(axes)}")


def located(ref: ModelRef) -> ModelRef:
    """The model as named; a local folder by its absolute path, so that a run can be verified from anywhere. What is
    embedded is that, whatever folder of such a name lies where the work is started."""
    ref = checked_model(ref)
    parts: dict[str, Any] = {each.name: _located_part(getattr(ref, each.name)) for each in PARTS}
    ref = replace(ref, **parts)
    folder = Path(ref.repo_id).expanduser()
    is_embedded = ref.repo_id in (PAINT_REPO_ID, DEMO_REPO_ID)
    return ref if is_embedded or not folder.is_dir() else replace(ref, repo_id=str(folder.resolve()))


def _located_part(value: Any) -> Any:
    """Of a setting that names parts: a path, or entries that have one."""
    if isinstance(value, tuple):
        return tuple(replace(each, path=_located_path(each.path)) for each in value)
    return _located_path(value) if value else value


def _located_path(path: str) -> str:
    """Of a part that lies here, the absolute path; a hub id stays."""
    return str(Path(path).expanduser().resolve()) if is_local(path) else path


def find_model(ref: ModelRef, device: str) -> InspectedModel:
    """The model's identity and needs, read from its small files."""
    if ref.repo_id == PAINT_REPO_ID:
        for each in PARTS:
            if each.does_something(getattr(ref, each.name)):
                raise DarkroomError(f"model.{each.name}: {PAINT_REPO_ID} paints without a model; leave it out")
        return paint_model()
    if ref.repo_id == DEMO_REPO_ID:
        model = inspect_model(replace(ref, repo_id=str(MODEL_FOLDER)), device)
        return replace(model, identity=replace(model.identity, repo_id=DEMO_REPO_ID))
    return inspect_model(ref, device)


def _sampling(asked: Mapping[str, Value], model: InspectedModel, run: Mapping[str, Value]) -> Sampling:
    """A cell's settings, with what the model says in the place of None. Where the cell has the run's seed or number
    of images, it says nothing of them, so that it is called as in a run whose cells do not differ in them."""
    values: dict[str, Any] = {each.name: _value(each, asked[each.name], model) for each in settings_of(Sampling)}
    shared = {each.name: each.neutral for each in settings_of(Sampling) if not each.of_image}
    return Sampling(**values | {name: value for name, value in shared.items() if values[name] == run[name]})


def _value(setting: Setting, given: Value, model: InspectedModel) -> Any:
    value = _model_value(setting, model) if given is None else setting.kind(given)
    if value is None:
        raise DarkroomError(
            f"sampling.{setting.name} has no value, and {model.identity.repo_id} names none; give "
            f"sampling.{setting.name}=..."
        )
    if setting.allowed and value not in setting.allowed:
        raise DarkroomError(f"sampling.{setting.name}={value} is out of range; give {setting.allowed}")
    return value


def _model_value(setting: Setting, model: InspectedModel) -> Any:
    if setting.name == "scheduler":
        return DEFAULT
    return PAINT_DEFAULTS[setting.name] if model.source == PAINT_REPO_ID else call_default(model, setting.name)


def _check_lossy(sampling: Sampling, model: InspectedModel) -> None:
    start, stop = sampling.guidance_start, sampling.guidance_stop
    if start >= stop:
        raise DarkroomError(f"sampling.guidance_start={start:g} is not before sampling.guidance_stop={stop:g}")
    if sampling.lossy and model.identity.pipeline_class not in STEERED:
        asked = ", ".join(f"sampling.{name}={value:g}" for name, value in sampling.lossy.items())
        raise DarkroomError(
            f"{asked}: the steps of {model.identity.pipeline_class} cannot be changed; leave it out, or use one "
            f"of {', '.join(STEERED)}"
        )
    if sampling.is_partly_guided and model.is_distilled:
        raise DarkroomError(
            f"sampling.guidance_start={start:g}, sampling.guidance_stop={stop:g}: {model.identity.repo_id} is told its "
            "guidance in every step; leave them out"
        )


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


def no_lora(said: str, name: str, model: InspectedModel) -> str:
    """What is said of a name that no LoRA of a model has, and where it stands."""
    known = ", ".join([NO_LORA, *(part.name for part in model.identity.loras)])
    return f"{said}: {model.identity.repo_id} has no LoRA {name!r}; give one of {known}, or add it to model.loras=[...]"


def check_taken(names: Collection[str], model: InspectedModel, remedy: str) -> None:
    """The painter takes everything, since it looks at nothing."""
    if names and model.source != PAINT_REPO_ID:
        check_arguments(names, model, remedy)


# The models of a run ------------------------------------------------------------------------------------------------


def models_of(cells: Iterable[CellInfo], place: ModelPlace, device: str) -> dict[ModelIdentity, InspectedModel]:
    """The cells' models. Raises DarkroomError where one is not what the run was made with."""
    once = {info.cell.model: info for info in cells}
    for info in once.values():
        _check_trust(info, place.trust_remote_code)
    return {identity: _model_of(info, place, device) for identity, info in once.items()}


def _check_trust(info: CellInfo, trusts: bool) -> None:
    if info.cell.model.trust_remote_code and not trusts:
        raise DarkroomError(
            f"cell {info.cell.cell_id}: model.repo_id={info.ref.repo_id} runs code of its own; give "
            "model.trust_remote_code=true if you trust it"
        )


def _model_of(info: CellInfo, place: ModelPlace, device: str) -> InspectedModel:
    """Where it lay is looked at too: a run may have several models, and not all have moved."""
    identity, said = info.cell.model, []
    for ref in [*_refs_at(place.repo_id), info.ref] if place.repo_id else [info.ref]:
        try:
            model = _inspected(ref, identity, device)
        except DarkroomError as error:
            said.append(f"{error}; or {_REMEDY}")
            continue
        if model.identity.revision == identity.revision:
            parts = parts_of(info, place.adapters or ())
            return replace(model, identity=identity, parts=parts)
        said.append(
            f"model.repo_id={ref.repo_id} is {model.identity.revision}, and the run was made with "
            f"{identity.revision}; restore that model, or {_REMEDY}"
        )
    raise DarkroomError(said[0])


def parts_of(info: CellInfo, places: Sequence[str]) -> tuple[PartFile, ...]:
    """The files of what was added to a cell's model, where they lay or in one of these places; the digest decides."""
    values = [getattr(info.ref, each.name) for each in PARTS]
    named = [each.path for value in values if isinstance(value, tuple) for each in value]
    named += [value for value in values if isinstance(value, str)]
    return tuple(_part_of(part, path, places) for part, path in zip(info.cell.model.parts, named, strict=True))


def _part_of(part: Part, path: str, places: Sequence[str]) -> PartFile:
    label, said = f"model.{part.kind} {part.name}", []
    for place in [*(file for folder in places for file in files_at(folder, part.kind)), path]:
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


def _inspected(ref: ModelRef, identity: ModelIdentity, device: str) -> InspectedModel:
    """As the run's model was looked at."""
    commit = None if identity.revision.startswith("sha256:") else identity.revision
    trusts = identity.trust_remote_code
    ref = replace(ref, dtype=identity.dtype, variant=identity.variant, trust_remote_code=trusts)
    without: dict[str, Any] = {each.name: each.neutral for each in PARTS}
    ref = replace(ref, **without)
    return find_model(replace(ref, revision=commit or ref.revision), device)


def _refs_at(place: str) -> Iterator[ModelRef]:
    """The place itself, and where it is no model, the models in it."""
    folder = Path(place).expanduser()
    inside = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    here = [folder.resolve()] if folder.is_dir() else [place]
    yield from (ModelRef(str(path)) for path in (inside if inside and not (folder / INDEX).is_file() else here))
