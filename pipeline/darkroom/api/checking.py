"""Checks what is to be rendered as far as it can be without loading a model: the edge where options become cells.

Cheapest first; every refusal is a DarkroomError before expensive work.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

from darkroom.api.options import (
    AUTO,
    EngineOptions,
    EvaluationOptions,
    HalvingOptions,
    OutputOptions,
    checked_model,
    sampling_defaults,
    with_settings,
)
from darkroom.api.prompts import Prompts
from darkroom.demo import MODEL_FOLDER
from darkroom.domain.cells import Cell
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.settings import (
    ARGUMENTS,
    FLOAT8,
    SETTINGS,
    ModelRef,
    Sampling,
    Setting,
    Value,
    settings_of,
)
from darkroom.engine.planning import Grid, Settings, expand
from darkroom.prompts.dataset import PromptScan, count_long_prompts
from darkroom.rendering.inspection import (
    STEERED,
    InspectedModel,
    call_default,
    check_arguments,
    inspect_model,
    token_counter,
)
from darkroom.rendering.renderer import PAINT_DEFAULTS, PAINT_REPO_ID, RendererSpec, paint_model
from darkroom.rendering.schedulers import DEFAULT, check_scheduler
from darkroom.runs.cells import CellInfo
from darkroom.runs.encoding import size_fault
from darkroom.runs.run import OutputInfo, RunInfo
from darkroom.storage.store import StoreSpec, parse_spec

DEMO_REPO_ID = "darkroom/demo"
_OPTIONAL = frozenset(each.name for each in ARGUMENTS if each.has_neutral)  # which not every pipeline takes
# Names of models with their usual settings.
PRESETS: Mapping[str, ModelRef] = {
    "demo": ModelRef(DEMO_REPO_ID, dtype="float32"),
    "paint": ModelRef(PAINT_REPO_ID, dtype="float32"),
    "sd15": ModelRef("stable-diffusion-v1-5/stable-diffusion-v1-5", variant="fp16"),
    "sdxl": ModelRef("stabilityai/stable-diffusion-xl-base-1.0", variant="fp16"),
}
FindModel = Callable[[ModelRef, str], InspectedModel]


@dataclass(frozen=True)
class Request:
    """What is to be rendered, with which settings, to where, on what."""

    prompts: Prompts
    model: ModelRef
    sampling: Mapping[str, Value] = field(default_factory=sampling_defaults)  # all settings; None: the model's own
    output: OutputOptions = OutputOptions()  # noqa: RUF009, frozen
    engine: EngineOptions = EngineOptions()  # noqa: RUF009
    evaluation: EvaluationOptions | None = None  # score images as they are rendered, and measure the run at the end
    grid: Grid | None = None  # of a sweep; None: one cell
    halving: HalvingOptions | None = None

    @property
    def seed(self) -> int:
        """Of cells that have none of their own."""
        return int(self.sampling["seed"] or 0)

    @property
    def num_images_per_prompt(self) -> int:
        """Of cells that have none of their own."""
        return int(self.sampling["num_images_per_prompt"] or 1)


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


@dataclass(frozen=True)
class Checked:
    """A request with what the checks found."""

    request: Request
    scan: PromptScan
    cells: tuple[CheckedCell, ...]
    store: StoreSpec

    def run_info(self) -> RunInfo:
        """As a run that begins with it."""
        request = self.request
        size = request.engine.batch_size
        return RunInfo(
            prompts=request.prompts.info(self.scan),
            output=_output_info(request.output),
            seed=request.seed,
            num_images_per_prompt=request.num_images_per_prompt,
            shard_size=request.engine.shard_size,
            batch_size=None if size == AUTO else int(size),
            cell_id="" if request.grid else self.cells[0].cell.cell_id,
        )

    def called_as_in(self, run: Mapping[str, CellInfo]) -> "Checked":
        """The same, with models called as the run has known them first: a folder's name may be another by now."""
        cells = (item.called_as(run[item.cell.cell_id].cell.model.repo_id) for item in self.cells)
        return replace(self, cells=tuple(cells))

    @property
    def cell_infos(self) -> dict[str, CellInfo]:
        """By cell_id."""
        return {item.cell.cell_id: item.info for item in self.cells}

    @property
    def num_images(self) -> int:
        """Of all cells."""
        usual, dataset = self.request.num_images_per_prompt, self.request.prompts.dataset
        counts = Counter(item.cell.sampling.num_images_per_prompt or usual for item in self.cells)
        return sum(cells * dataset.scan(count).num_images for count, cells in counts.items())

    @property
    def models(self) -> list[InspectedModel]:
        """Each once, in the order of the cells."""
        return list({item.cell.model: item.model for item in self.cells}.values())


def check(request: Request, device: str) -> Checked:
    """The request's cells, prompts and store; equal cells are one."""
    find = cache(find_model)  # a look at a model digests its weights: once a model, and not once a cell
    grid = request.grid
    cells = (
        [checked_cell(request.model, request.sampling, request.sampling, device, find)]
        if grid is None
        else [_grid_cell(request, settings, device, find) for settings in _cells_of(grid)]
    )
    once = {item.cell.cell_id: item for item in cells}
    for item in once.values():
        _check_format(request.output.image_format, item.cell.sampling)
    scan = request.prompts.dataset.scan(request.num_images_per_prompt)
    for model in {item.cell.model: item.model for item in once.values()}.values():
        given = [name for name in scan.num_overriding if name in _OPTIONAL]
        _check_arguments(given, model, "prompts.columns.{}=null leaves its column unread")
    found = Checked(request, scan, tuple(once.values()), StoreSpec(""))
    uri = f"runs/{_folder_name(found)}" if request.output.uri is None else request.output.uri
    return replace(found, store=parse_spec(uri, request.output.endpoint_url))


def warnings(found: Checked) -> Iterator[str]:
    """What will work but may surprise."""
    yield from found.scan.warnings
    yield from filter(None, (_long_prompts(model, found) for model in found.models))


def _long_prompts(model: InspectedModel, found: Checked) -> str | None:
    limit = model.max_prompt_tokens
    counter = None if limit is None else token_counter(model)
    if limit is None or counter is None:
        return None
    count = count_long_prompts(found.request.prompts.dataset, counter, limit)
    if not count.num_long:
        return None
    checked = "" if count.num_checked == count.num_rows else f" of the first {count.num_checked}"
    return (
        f"{count.num_long}{checked} prompts are longer than the {limit} tokens that {model.identity.repo_id} reads; "
        "their ends are cut off, and their records say truncated"
    )


# Cells -------------------------------------------------------------------------------------------------------------


def checked_cell(
    ref: ModelRef, asked: Mapping[str, Value], run: Mapping[str, Value], device: str, find: FindModel
) -> CheckedCell:
    """A cell whose model is there and whose settings fit it; `run`: the sampling that the cells of a run share, where
    this one may differ in the rest."""
    ref = model_ref(ref)
    model = find(ref, device)
    sampling = _sampling(asked, model, run)
    check_scheduler(sampling.scheduler, model)
    _check_lossy(sampling, model)
    _check_arguments([name for name in sampling.effective if name in _OPTIONAL], model, "leave it out")
    if model.identity.dtype == FLOAT8 and device == "mps":
        raise DarkroomError("model.dtype=float8: mps has no float8; use model.dtype=bfloat16")
    return CheckedCell(CellInfo(ref, Cell(model.identity, sampling)), model)


def _grid_cell(request: Request, settings: Settings, device: str, find: FindModel) -> CheckedCell:
    """The request's own model and sampling, with this cell's settings on top."""
    said = ", ".join(f"{name}={'null' if value is None else value}" for name, value in settings.items())
    try:
        for name in settings:
            _check_axis(name)
        own = with_settings(request.model, request.sampling, settings)
        return checked_cell(*own, request.sampling, device, find)
    except DarkroomError as error:
        raise DarkroomError(f"grid cell ({said}): {error}") from error


def _cells_of(grid: Grid) -> list[Settings]:
    """Each cell's settings. Raises DarkroomError for an axis without a value, and for a grid without a cell."""
    for name, values in grid.axes.items():
        if not values:
            raise DarkroomError(f"grid.axes.{name}=[] has no value; give some, or leave the axis out")
    return expand(grid)


def _check_axis(name: str) -> None:
    axes = [each.name for each in SETTINGS.values() if each.axis]
    if name not in axes:
        raise DarkroomError(f"no setting {name!r} tells cells apart; those that do are {', '.join(axes)}")


def model_ref(ref: ModelRef) -> ModelRef:
    """The model as named; a local folder by its absolute path, so that a run can be verified from anywhere. What is
    embedded is that, whatever folder of such a name lies where the work is started."""
    folder = Path(checked_model(ref).repo_id).expanduser()
    is_embedded = ref.repo_id in (PAINT_REPO_ID, DEMO_REPO_ID)
    return ref if is_embedded or not folder.is_dir() else replace(ref, repo_id=str(folder.resolve()))


def find_model(ref: ModelRef, device: str) -> InspectedModel:
    """The model's identity and needs, by a look at its small files."""
    if ref.repo_id == PAINT_REPO_ID:
        return paint_model()
    if ref.repo_id == DEMO_REPO_ID:
        model = inspect_model(replace(ref, repo_id=str(MODEL_FOLDER)), device)
        return replace(model, identity=replace(model.identity, repo_id=DEMO_REPO_ID))
    return inspect_model(ref, device)


def _sampling(asked: Mapping[str, Value], model: InspectedModel, run: Mapping[str, Value]) -> Sampling:
    """A cell's settings, with what the model says in the place of None. Where the cell has the run's own seed or number
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
            f"{asked}: the steps of {model.identity.pipeline_class} are not ours to change; leave it out, or use one "
            f"of {', '.join(STEERED)}"
        )
    if sampling.is_partly_guided and model.is_distilled:
        raise DarkroomError(
            f"sampling.guidance_start={start:g}, sampling.guidance_stop={stop:g}: {model.identity.repo_id} is told its "
            "guidance in every step; leave them out"
        )


def _check_arguments(names: Collection[str], model: InspectedModel, remedy: str) -> None:
    """The painter takes everything, since it looks at nothing."""
    if names and model.source != PAINT_REPO_ID:
        check_arguments(names, model, remedy)


def _check_format(image_format: str, sampling: Sampling) -> None:
    fault = size_fault(image_format, sampling.height, sampling.width)
    if fault:
        raise DarkroomError(f"output.image_format={image_format}, {fault}")


# The run -----------------------------------------------------------------------------------------------------------


def _output_info(output: OutputOptions) -> OutputInfo:
    return OutputInfo(output.layout, output.image_format, 0 if output.image_format == "png" else output.quality)


def _folder_name(found: Checked) -> str:
    """A folder named by what is rendered: the same request finds it again, another one does not touch it. That of a
    sweep stays the same when its grid grows."""
    run, kind = found.run_info(), found.request.prompts.kind
    shared = (run.seed, run.num_images_per_prompt, vars(run.output))
    if found.request.grid is not None:
        return f"sweep-{kind}-{digest('sweep', found.scan.fingerprint, *shared)[:8]}"
    [only] = found.cells
    name = digest(found.scan.fingerprint, only.cell.cell_id, *shared)
    return f"{kind}-{Path(only.info.ref.repo_id).name}-{name[:8]}"


def renderer_spec(model: InspectedModel, device: str, batch_size: int, compile: bool = False) -> RendererSpec:
    return RendererSpec(model=model, device=device, batch_size=batch_size, compile=compile)
