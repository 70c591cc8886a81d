"""Cells of a request: settings checked against the model that they are for, which is found by its small files."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from darkroom.api.models import check_used, located
from darkroom.api.parts import check_loras
from darkroom.api.plug_ins import check_plug_in_settings, plug_in_value
from darkroom.domain.adapters import Active, active_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell
from darkroom.domain.setting_values import as_said, unknown, with_settings
from darkroom.domain.settings import (
    ARGUMENTS,
    FLOAT8,
    NONE,
    OF_VIDEOS,
    OLDER_DEFAULTS,
    SETTINGS,
    ModelRef,
    Sampling,
    Setting,
    Value,
    settings_of,
)
from darkroom.engine.planning import Grid, Settings, expand
from darkroom.rendering.family import STEERED
from darkroom.rendering.inspected_model import (
    InspectedModel,
    check_arguments,
    check_clip_skip,
    check_num_frames,
    check_prompt_syntax,
    check_size,
)
from darkroom.rendering.own_settings import own_setting
from darkroom.rendering.refiner import START, check_refined
from darkroom.rendering.renderer import PAINT_REPO_ID
from darkroom.rendering.schedulers import DEFAULT, check_eta, check_scheduler, check_steps, takes_eta
from darkroom.runs.cells import CellInfo
from darkroom.runs.commands import presets, with_preset

# Which not every pipeline takes.
OPTIONAL_ARGUMENTS = frozenset(
    {each.name for each in ARGUMENTS if each.has_neutral} | {"guidance_scale", "negative_prompt", *OF_VIDEOS}
)
_MODEL_HINT = "name the models of cells as repo_id, a preset, a hub id or a folder: "
_OF_CACHE = ("cache", "cache_interval")
FindModel = Callable[[ModelRef, str], InspectedModel]


@dataclass(frozen=True)
class CheckedCell:
    """A cell, and the model that it needs."""

    info: CellInfo
    model: InspectedModel
    older: tuple[Cell, ...] = ()  # that versions before 0.2.0 could make of the same words, where those are others

    @property
    def cell(self) -> Cell:
        return self.info.cell

    def called_as(self, repo_id: str) -> "CheckedCell":
        """The same, with its model called so in images and records."""
        identity = replace(self.cell.model, repo_id=repo_id)
        info = replace(self.info, cell=replace(self.cell, model=identity))
        return replace(self, info=info, model=replace(self.model, identity=identity))


def checked_cell(
    ref: ModelRef,
    asked: Mapping[str, Value],
    run: Mapping[str, Value],
    device: str,
    find: FindModel,
    own: Collection[str] = (),
) -> CheckedCell:
    """A cell whose model is there and whose settings fit it; `run`: the sampling that the cells of a run share, where
    this one may differ in the rest; `own`: names of the settings that it has of its own."""
    ref = located(ref)
    check_used(ref)
    model = find(ref, device)
    configuration = model.single_file.commit if model.single_file else None
    ref = replace(ref, revision=configuration or ref.revision)
    _check_cache(asked, model, own)
    sampling = _sampling(asked, model, run)
    cell = Cell(model.identity, sampling)
    unsaid = [name for name in OLDER_DEFAULTS if run[name] is None and name not in own]
    if model.plug_in:
        check_plug_in_settings(sampling, model.plug_in)
        taken = [name for name in unsaid if name in model.plug_in.description.takes]
        return CheckedCell(CellInfo(ref, cell), model, _older(cell, taken))
    check_scheduler(sampling.scheduler, model)
    _check_lossy(sampling, model)
    check_numbers(sampling, model)
    check_taken(_acting(sampling), model, "leave it out")
    check_loras(sampling, model)
    check_prompt_syntax("sampling.prompt_syntax", sampling.prompt_syntax, model)
    if model.identity.dtype == FLOAT8 and device == "mps":
        raise DarkroomError("model.dtype=float8: mps has no float8; use model.dtype=bfloat16")
    _check_offload(ref, device)
    return CheckedCell(CellInfo(ref, cell), model, _older(cell, unsaid))


def check_numbers(sampling: Sampling, model: InspectedModel, source: str = "sampling.") -> None:
    """Refuse steps, noise, layers and sizes that a model without a renderer of its own does not take.

    `source`: what comes before a setting's name in the message.
    """
    check_steps(sampling.scheduler, sampling.num_inference_steps, model, f"{source}num_inference_steps")
    check_eta(sampling.scheduler, sampling.eta, model, f"{source}eta")
    check_refined(sampling, model, source)
    check_clip_skip(f"{source}clip_skip", sampling.clip_skip, model)
    check_size((sampling.height, sampling.width), model, source)
    check_num_frames(sampling.num_frames, model, source)


def grid_cell(
    model: ModelRef, sampling: Mapping[str, Value], settings: Settings, device: str, find: FindModel
) -> CheckedCell:
    """A model and sampling with a grid cell's settings on top; a `repo_id` that names a preset is that."""
    said = ", ".join(f"{name}={as_said(value)}" for name, value in settings.items())
    try:
        for name in settings:
            _check_axis(name)
        named = None if model.make else settings.get("repo_id")  # of a renderer of one's own it is whatever it reads
        if named in tuple(presets()):
            model = with_preset(model, str(named))
            settings = {name: value for name, value in settings.items() if name != "repo_id"}
        return checked_cell(*with_settings(model, sampling, settings), sampling, device, find, tuple(settings))
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
                hint = _MODEL_HINT if name == "model" else ""
                raise DarkroomError(f"grid.exclude: {hint}{unknown(name, tuple(SETTINGS), 'setting')}")
    return expand(grid)


def _check_axis(name: str) -> None:
    axes = [each.name for each in SETTINGS.values() if each.axis]
    if name not in axes:
        hint = _MODEL_HINT if name == "model" else ""
        raise DarkroomError(f"{hint}no setting {name!r} tells cells apart; those that do are {', '.join(axes)}")


def _sampling(asked: Mapping[str, Value], model: InspectedModel, run: Mapping[str, Value]) -> Sampling:
    """A cell's settings, with what the model says in the place of None. Where the cell has the run's seed or number
    of images, it says nothing of them, so that it is called as in a run whose cells do not differ in them."""
    active = active_loras(model.identity.loras, str(asked["lora"]), float(asked["lora_weight"] or 0))
    values: dict[str, Any] = {
        each.name: _value(each, asked[each.name], model, active) for each in settings_of(Sampling)
    }
    if model.family.caches and _is_uncached(asked):
        values |= {name: SETTINGS[name].neutral for name in _OF_CACHE}
    if asked["eta"] is None and not model.plug_in and not takes_eta(str(values["scheduler"]), model):
        values["eta"] = SETTINGS["eta"].neutral  # what a card says is of the scheduler that it says
    shared = {each.name: each.neutral for each in settings_of(Sampling) if not each.of_image}
    if values["num_frames"] is None and asked["fps"] is None:
        values["fps"] = None  # of the painter, which makes both
    if model.identity.refiner and values["refiner_start"] is None:
        values["refiner_start"] = START
    return Sampling(**values | {name: value for name, value in shared.items() if values[name] == run[name]})


def _older(cell: Cell, unsaid: Collection[str]) -> tuple[Cell, ...]:
    """The cells with one or more of these settings at what it was where nothing was said, in versions before 0.2.0:
    not each of them need have been unsaid, since null could be given."""
    choices = [names for count in range(len(unsaid), 0, -1) for names in combinations(unsaid, count)]
    found = [_with_older(cell, names) for names in choices]
    return tuple(other for other in found if other.cell_id != cell.cell_id)


def _with_older(cell: Cell, names: Iterable[str]) -> Cell:
    older: dict[str, Any] = {name: OLDER_DEFAULTS[name] for name in names}
    return replace(cell, sampling=replace(cell.sampling, **older))


def _value(setting: Setting, given: Value, model: InspectedModel, active: Active) -> Any:
    value = plug_in_value(setting, given, model.plug_in) if model.plug_in else given
    if value is None and setting.is_optional and not setting.from_model:
        return None
    value = _model_value(setting, model, active) if value is None else setting.kind(value)
    if value is None and setting.neutral is None:
        return None
    if value is None:
        older = OLDER_DEFAULTS.get(setting.name)
        was = f", which was {older} where nothing was said before version 0.2.0" if older is not None else ""
        raise DarkroomError(
            f"sampling.{setting.name} has no value, and {model.identity.repo_id} names none; give "
            f"sampling.{setting.name}=...{was}"
        )
    if setting.allowed and value not in setting.allowed:
        raise DarkroomError(f"sampling.{setting.name}={value} is out of range; give {setting.allowed}")
    return value


def _model_value(setting: Setting, model: InspectedModel, active: Active) -> Any:
    if model.plug_in:
        return DEFAULT if setting.name == "scheduler" else setting.neutral if setting.has_neutral else None
    return own_setting(setting.name, model, active) if setting.from_model else None


def _check_lossy(sampling: Sampling, model: InspectedModel) -> None:
    start, stop = sampling.guidance_start, sampling.guidance_stop
    if start >= stop:
        raise DarkroomError(f"sampling.guidance_start={start:g} is not before sampling.guidance_stop={stop:g}")
    lossy = {name: value for name, value in sampling.lossy.items() if not (model.family.caches and name in _OF_CACHE)}
    if lossy and model.identity.pipeline_class not in STEERED:
        asked = ", ".join(f"sampling.{name}={value}" for name, value in lossy.items())
        raise DarkroomError(
            f"{asked}: the steps of {model.identity.pipeline_class} cannot be changed; leave it out, or use one "
            f"of {', '.join(STEERED)}"
        )
    if sampling.is_partly_guided and model.is_distilled:
        raise DarkroomError(
            f"sampling.guidance_start={start:g}, sampling.guidance_stop={stop:g}: {model.identity.repo_id} is told its "
            "guidance in every step; leave them out"
        )


def _is_uncached(asked: Mapping[str, Value]) -> bool:
    """Of a transformer, whose cache is asked for by two settings: an axis of one may leave it out."""
    return any(not SETTINGS[name].does_something(asked[name]) for name in _OF_CACHE)


def _check_cache(asked: Mapping[str, Value], model: InspectedModel, own: Collection[str]) -> None:
    """Refuse a cache that the denoiser does not have, and one of the two settings without the other, which may be
    neutral where it is the cell's own."""
    cache, interval = (asked[name] for name in _OF_CACHE)
    kind, caches = model.identity.pipeline_class, model.family.caches
    if model.plug_in:
        return  # which says itself what it takes
    if cache not in (NONE, *caches):
        raise DarkroomError(f"sampling.cache={cache}: {_why_no_cache(kind, caches)}")
    if cache != NONE and interval == 1 and "cache_interval" not in own:
        raise DarkroomError(
            f"sampling.cache={cache}: at sampling.cache_interval=1 every step is computed whole; give "
            "sampling.cache_interval=3, or leave it out"
        )
    if caches and cache == NONE and interval != 1 and "cache" not in own:
        raise DarkroomError(
            f"sampling.cache_interval={interval}: {kind} has caches of several kinds; give sampling.cache too, as one "
            f"of {', '.join(caches)}"
        )


def _why_no_cache(kind: str, caches: Collection[str]) -> str:
    if kind in STEERED:
        return f"it is of transformers, and {kind} has a UNet; leave it out, and give sampling.cache_interval alone"
    return f"{kind} has others; give one of {', '.join(caches)}" if caches else f"{kind} has none; leave it out"


def _check_offload(ref: ModelRef, device: str) -> None:
    """Where models compute in the machine's own memory, nothing is saved by waiting there."""
    if ref.offload != NONE and device != "cuda":
        raise DarkroomError(
            f"model.offload={ref.offload}: on this device, {device}, models compute in the machine's own memory, so "
            "there is nothing to offload from; leave it out, or give engine.device=cuda where the workers have one"
        )


def _acting(sampling: Sampling) -> list[str]:
    """The optional arguments that a cell asks for; guidance of 1 or below is none."""
    neutral = {"guidance_scale": not sampling.is_guided, "negative_prompt": not sampling.negative_prompt}
    return [name for name in sampling.effective if name in OPTIONAL_ARGUMENTS and not neutral.get(name)]


def check_taken(names: Collection[str], model: InspectedModel, remedy: str) -> None:
    """The painter takes everything, since it looks at nothing."""
    if names and model.source != PAINT_REPO_ID:
        check_arguments(names, model, remedy)
