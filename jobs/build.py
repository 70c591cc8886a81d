"""From a configuration to the values that the pipeline works on: the edge where checked input becomes domain types."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.conf.keys import check_ranges
from darkroom.conf.schema import AUTO, ImageFormat, PromptsKind
from darkroom.demo import MODEL_FOLDER
from darkroom.domain.cells import Cell
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.settings import ARGUMENTS, FLOAT8, ModelRef, Sampling, Setting, settings_of
from darkroom.prompts.dataset import PromptDataset, PromptScan
from darkroom.prompts.opening import open_prompts, template_prompts
from darkroom.rendering.inspection import STEERED, InspectedModel, call_default, check_arguments, inspect_model
from darkroom.rendering.paint import PAINT_DEFAULTS, PAINT_REPO_ID, paint_model
from darkroom.rendering.renderer import RendererSpec
from darkroom.rendering.schedulers import DEFAULT, check_scheduler
from darkroom.runs.cells import CellInfo
from darkroom.runs.encoding import size_fault
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo
from darkroom.storage.store import StoreSpec, parse_spec

DEMO_REPO_ID = "darkroom/demo"
_OPTIONAL = frozenset(each.name for each in ARGUMENTS if each.has_neutral)  # which not every pipeline takes


@dataclass(frozen=True)
class WantedCell:
    """A checked cell, and the model that it needs."""

    info: CellInfo
    model: InspectedModel

    @property
    def cell(self) -> Cell:
        return self.info.cell

    def called_as(self, repo_id: str) -> "WantedCell":
        """The same, with its model called so in images and records."""
        identity = replace(self.cell.model, repo_id=repo_id)
        info = replace(self.info, cell=replace(self.cell, model=identity))
        return WantedCell(info, replace(self.model, identity=identity))


@dataclass(frozen=True)
class Wanted:
    """A checked command: what is to be rendered, with which settings, to where."""

    dataset: PromptDataset
    scan: PromptScan
    cells: tuple[WantedCell, ...]  # one for a plain run
    store: StoreSpec
    config: DictConfig

    def run_info(self) -> RunInfo:
        config = self.config
        return RunInfo(
            prompts=prompts_info(config.prompts, self.scan),
            output=output_info(config.output),
            seed=config.sampling.seed,
            num_images_per_prompt=config.sampling.num_images_per_prompt,
            shard_size=config.engine.shard_size,
            batch_size=None if config.engine.batch_size == AUTO else config.engine.batch_size,
        )

    def called_as_in(self, run: Mapping[str, CellInfo]) -> "Wanted":
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
        usual = self.config.sampling.num_images_per_prompt
        counts = Counter(item.cell.sampling.num_images_per_prompt or usual for item in self.cells)
        return sum(cells * self.dataset.scan(count).num_images for count, cells in counts.items())

    @property
    def models(self) -> list[InspectedModel]:
        """Each once, in the order of the cells."""
        return list({item.cell.model: item.model for item in self.cells}.values())


def wanted(config: DictConfig, device: str) -> Wanted:
    """Check a command of one cell as far as it can be without loading a model, cheapest first."""
    check_ranges(config)
    return collected(config, (checked_cell(config.model, config.sampling, device),), _plain_name)


def collected(config: DictConfig, cells: tuple[WantedCell, ...], name: Callable[[Wanted], str]) -> Wanted:
    """The cells with their prompts and their store; `name(wanted)` is the default folder."""
    for cell in cells:
        _check_format(config.output.image_format, cell.cell.sampling)
    dataset = prompts(config.prompts)
    scan = dataset.scan(config.sampling.num_images_per_prompt)
    for model in {cell.model.identity: cell.model for cell in cells}.values():
        given = [name for name in scan.num_overriding if name in _OPTIONAL]
        _check_arguments(given, model, "prompts.columns.{}=null leaves its column unread")
    found = Wanted(dataset, scan, cells, StoreSpec(""), config)
    uri = f"runs/{name(found)}" if config.output.uri is None else config.output.uri
    return replace(found, store=parse_spec(uri, config.output.endpoint_url))


def checked_cell(
    model_config: DictConfig,
    sampling_config: DictConfig,
    device: str,
    find: Callable[[ModelRef, str], InspectedModel] | None = None,
    run: DictConfig | None = None,
) -> WantedCell:
    """A cell whose model is there and whose scheduler fits it; `find` stands in for `find_model`, and `run` is the
    `sampling` that the cells of a run share, where this one may differ in the rest."""
    ref = model_ref(model_config)
    model = (find or find_model)(ref, device)
    sampling = sampling_of(sampling_config, model, run or sampling_config)
    check_scheduler(sampling.scheduler, model)
    _check_lossy(sampling, model)
    _check_arguments([name for name in sampling.effective if name in _OPTIONAL], model, "leave it out")
    if model.identity.dtype == FLOAT8 and device == "mps":
        raise DarkroomError("model.dtype=float8: mps has no float8; use model.dtype=bfloat16")
    return WantedCell(CellInfo(ref, Cell(model.identity, sampling)), model)


def model_ref(config: DictConfig) -> ModelRef:
    """The model as named; a local folder by its absolute path, so that a run can be verified from anywhere. What is
    embedded is that, whatever folder of such a name lies where the command is given."""
    ref = ModelRef(**{each.name: _plain(config[each.name]) for each in settings_of(ModelRef)})
    if ref.repo_id not in (PAINT_REPO_ID, DEMO_REPO_ID) and Path(ref.repo_id).expanduser().is_dir():
        return replace(ref, repo_id=str(Path(ref.repo_id).expanduser().resolve()))
    return ref


def _plain(value: Any) -> Any:
    return value.value if isinstance(value, Enum) else value


def find_model(ref: ModelRef, device: str) -> InspectedModel:
    """The model's identity and needs, by a look at its small files."""
    if ref.repo_id == PAINT_REPO_ID:
        return paint_model()
    if ref.repo_id == DEMO_REPO_ID:
        model = inspect_model(replace(ref, repo_id=str(MODEL_FOLDER)), device)
        return replace(model, identity=replace(model.identity, repo_id=DEMO_REPO_ID))
    return inspect_model(ref, device)


def sampling_of(config: DictConfig, model: InspectedModel, run: DictConfig) -> Sampling:
    """A cell's settings, with what the model says in the place of null. Where the cell has the run's own seed or number
    of images, it says nothing of them, so that it is called as in a run whose cells do not differ in them."""
    values = {each.name: _value(each, config[each.name], model) for each in settings_of(Sampling)}
    shared = {each.name: each.neutral for each in settings_of(Sampling) if not each.of_image}
    return Sampling(**values | {name: value for name, value in shared.items() if values[name] == run[name]})


def _value(setting: Setting, given: Any, model: InspectedModel) -> Any:
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


def _check_format(image_format: ImageFormat, sampling: Sampling) -> None:
    fault = size_fault(image_format.value, sampling.height, sampling.width)
    if fault:
        raise DarkroomError(f"output.image_format={image_format.value}, {fault}")


def prompts(config: DictConfig) -> PromptDataset:
    return _PROMPTS[config.kind](config)


def _demo(_config: DictConfig) -> PromptDataset:
    import pyarrow as pa

    from darkroom.demo.prompts import demo_prompts

    return open_prompts(pa.Table.from_pylist(demo_prompts()), name="demo")


def _file(config: DictConfig) -> PromptDataset:
    return open_prompts(config.uri, config.on_invalid.value, config.endpoint_url, dict(config.columns))


def _template(config: DictConfig) -> PromptDataset:
    if not OmegaConf.is_dict(config.slots):
        raise DarkroomError(
            "prompts.slots needs a value for each slot of the pattern: prompts.slots={colour: [red, blue]}"
        )
    slots: Any = OmegaConf.to_container(config.slots, resolve=True)
    return template_prompts(config.pattern, slots, config.mode.value, config.num_prompts, config.seed)


_PROMPTS = {PromptsKind.demo: _demo, PromptsKind.file: _file, PromptsKind.template: _template}


def prompts_info(config: DictConfig, scan: PromptScan) -> PromptsInfo:
    settings: Any = OmegaConf.to_container(config, enum_to_str=True, resolve=True)
    columns = {name: column for name, column in settings.pop("columns", {}).items() if column != name}
    given = {name: value for name, value in settings.items() if value is not None and name != "write_to"}
    given |= {"columns": columns} if columns else {}
    return PromptsInfo(prompts_name(config), scan.fingerprint, scan.num_rows, given)


def prompts_name(config: DictConfig) -> str:
    """For people: where the prompts came from."""
    return {PromptsKind.demo: "demo", PromptsKind.file: config.get("uri"), PromptsKind.template: config.get("pattern")}[
        config.kind
    ]


def output_info(config: DictConfig) -> OutputInfo:
    quality = 0 if config.image_format is ImageFormat.png else config.quality
    return OutputInfo(config.layout.value, config.image_format.value, quality)


def renderer_spec(model: InspectedModel, device: str, batch_size: int, compile: bool = False) -> RendererSpec:
    return RendererSpec(model=model, device=device, batch_size=batch_size, compile=compile)


def renderer_specs(found: Wanted, device: str) -> tuple[RendererSpec, ...]:
    engine = found.config.engine
    return tuple(renderer_spec(model, device, engine.batch_size, engine.compile) for model in found.models)


def _plain_name(found: Wanted) -> str:
    """A folder named by what is rendered: the same command finds it again, another one does not touch it."""
    run, (only,) = found.run_info(), found.cells
    name = digest(found.scan.fingerprint, only.cell.cell_id, run.seed, run.num_images_per_prompt, vars(run.output))
    return f"{found.config.prompts.kind.value}-{Path(only.info.ref.repo_id).name}-{name[:8]}"


def sweep_name(found: Wanted) -> str:
    """A folder that stays the same when a grid grows."""
    run = found.run_info()
    name = digest("sweep", found.scan.fingerprint, run.seed, run.num_images_per_prompt, vars(run.output))
    return f"sweep-{found.config.prompts.kind.value}-{name[:8]}"
