"""Checks what is to be rendered as far as it can be without loading a model: the edge where options become cells.

Cheapest first; every refusal is a DarkroomError before expensive work.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from darkroom import __version__
from darkroom.api.arguments import Prompts
from darkroom.api.cells import OPTIONAL_ARGUMENTS, CheckedCell, check_taken, checked_cell, grid_cell, grid_settings
from darkroom.api.evaluation_options import EvaluationOptions, HalvingOptions, PolicyRule
from darkroom.api.models import find_model
from darkroom.api.options import AUTO, EngineOptions, not_halved
from darkroom.api.output_options import OutputOptions
from darkroom.api.overlay_checks import checked_overlay
from darkroom.api.parts import check_rows_loras
from darkroom.api.picture_checks import check_pictures, has_sizes_of_pictures, picture_place, with_place
from darkroom.api.plug_ins import check_columns
from darkroom.api.prompt_checks import LORA_TAGS, PromptFindings, check_prompts, with_faults
from darkroom.api.trajectories import check_trajectory
from darkroom.api.videos import check_images, check_videos, quality_of
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, digest
from darkroom.domain.policy import Policy
from darkroom.domain.records import PromptRow
from darkroom.domain.setting_values import sampling_defaults
from darkroom.domain.settings import NONE, ModelRef, Sampling, Value
from darkroom.engine.planning import LEAST_SHARD, Grid, usual_shard_size
from darkroom.prompts.dataset import RECORD, PromptScan
from darkroom.rendering.backends import backend_of
from darkroom.rendering.inspected_model import InspectedModel, shared_models
from darkroom.rendering.memory_options import tile_side, vae_config
from darkroom.rendering.schedulers import check_eta
from darkroom.runs.cells import CellInfo
from darkroom.runs.encoding import size_fault
from darkroom.runs.layouts import CONTAINERS
from darkroom.runs.run import OutputInfo, RunInfo
from darkroom.runs.signing import check_signing
from darkroom.runs.signing_keys import Signing
from darkroom.runs.watermarks import size_fault as mark_fault
from darkroom.storage.named_files import NamedPlace
from darkroom.storage.store import StoreSpec, is_remote, parse_spec

_NEWER_DEFAULTS = {
    "provenance": True,
    "overlay": "",
    "watermark": "",
    "c2pa": False,
    "video": False,
    "own_columns": True,
}  # of output; folders' names lack them
_RAY_JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # the environment variable of this name is set in Ray's jobs alone


@dataclass(frozen=True)
class Request:
    """What is to be rendered, with which settings, to where, on what."""

    prompts: Prompts
    model: ModelRef
    sampling: Mapping[str, Value] = field(default_factory=sampling_defaults)  # all settings; None: the model's
    output: OutputOptions = OutputOptions()  # noqa: RUF009, frozen
    engine: EngineOptions = EngineOptions()  # noqa: RUF009
    evaluation: EvaluationOptions | None = None  # measure images as they are rendered, and the run at its end
    grid: Grid | None = None  # of a sweep; None: one cell
    halving: HalvingOptions | None = None
    policy: Sequence[PolicyRule] = ()
    scoring: EvaluationOptions | None = None  # whose extractors give the policy's scores; None: the evaluation's

    @property
    def scored_by(self) -> EvaluationOptions:
        """Whose extractors give the policy's scores."""
        given = self.scoring or self.evaluation or EvaluationOptions()
        return EvaluationOptions(extractors=given.extractors, clip_convention=given.clip_convention)

    @property
    def seed(self) -> int:
        """Of cells that have none of their own."""
        return int(self.sampling["seed"] or 0)

    @property
    def signing(self) -> Signing | None:
        return self.output.c2pa.signing(self.output.provenance)

    @property
    def num_images_per_prompt(self) -> int:
        """Of cells that have none of their own."""
        return int(self.sampling["num_images_per_prompt"] or 1)


@dataclass(frozen=True)
class Checked:
    """A request with what the checks found."""

    request: Request
    scan: PromptScan
    cells: tuple[CheckedCell, ...]
    store: StoreSpec
    said: PromptFindings = field(default_factory=PromptFindings)  # in prompts
    overlay: str = ""  # text on images, as a run keeps it
    policy: Policy | None = None  # once its scores are checked
    pictures: NamedPlace | None = None  # where pictures lie that images are made from; None: none is

    @property
    def overriding(self) -> list[str]:
        """The settings that rows have of their own, and `LORA_TAGS` where prompts name LoRAs."""
        return [*self.scan.num_overriding, *([LORA_TAGS] if self.said.num_tagged else [])]

    def run_info(self) -> RunInfo:
        """As a run that begins with it."""
        request = self.request
        size = request.engine.batch_size
        return RunInfo(
            prompts=with_place(request.prompts.info(self.scan), self.pictures),
            output=_output_info(request.output, self.overlay, self.are_videos),
            seed=request.seed,
            num_images_per_prompt=request.num_images_per_prompt,
            shard_size=self.shard_size,
            batch_size=None if size == AUTO else int(size),
            cell_id="" if request.grid else self.cells[0].cell.cell_id,
            version=__version__,
            compile=None if request.engine.compile == AUTO else bool(request.engine.compile),
            policy=self.policy,
        )

    @property
    def are_videos(self) -> bool:
        """All cells are alike in it."""
        return self.cells[0].cell.sampling.is_video

    @property
    def shard_size(self) -> int:
        """Of a run that begins with it."""
        size, num_rows, num_cells = self.request.engine.shard_size, self.scan.num_rows, len(self.cells)
        if size != AUTO:
            return int(size)
        if self.pictures:
            return LEAST_SHARD  # whose pictures a worker holds
        images_a_row = -(-self.num_images // max(1, num_rows * num_cells))
        return usual_shard_size(
            num_rows, num_cells, self.policy.num_draws(images_a_row) if self.policy else images_a_row
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
    def older_cells(self) -> dict[str, tuple[Cell, ...]]:
        """By cell_id, what versions with other defaults could make of the same words."""
        return {item.cell.cell_id: item.older for item in self.cells if item.older}

    @property
    def older_places(self) -> dict[str, Cell]:
        """Folders that such a version named by what is rendered, each with the cell in it."""
        is_named = self.request.output.uri is None and self.request.grid is None
        older = self.cells[0].older if is_named else ()
        return {f"runs/{_folder_name(self, cell)}": cell for cell in older}

    @property
    def num_images(self) -> int:
        """Of all cells."""
        usual, dataset = self.request.num_images_per_prompt, self.request.prompts.dataset
        counts = Counter(item.cell.sampling.num_images_per_prompt or usual for item in self.cells)
        return (
            sum(cells * dataset.scan(count).num_images for count, cells in counts.items()) - self.said.num_images_lost
        )

    def rows_in(self, rows: Sequence[PromptRow], cell_id: str) -> Sequence[PromptRow]:
        """As this cell renders them: with the reason why where one cannot be in it."""
        if self.request.prompts.dataset.on_invalid != RECORD:
            return rows
        return with_faults(rows, next(item for item in self.cells if item.cell.cell_id == cell_id), self.said)

    @property
    def models(self) -> list[InspectedModel]:
        """Those that are loaded, each once, in the order of the cells."""
        return shared_models(item.model for item in self.cells)


def check(request: Request, device: str) -> Checked:
    """The request's cells, prompts and store; equal cells are one."""
    _check_place(request.output)
    if request.prompts.grow and request.output.uri is None:
        raise DarkroomError("prompts.grow=true needs the run that grows; give its folder as output.uri")
    if signing := request.signing:
        check_signing(signing)
    if request.halving and request.engine.part:
        raise not_halved(f"engine.part={request.engine.part}")
    find = cache(find_model)  # which digests its weights: once a model, and not once a cell
    grid = request.grid
    cells = (
        [checked_cell(request.model, request.sampling, request.sampling, device, find)]
        if grid is None
        else [grid_cell(request.model, request.sampling, each, device, find) for each in grid_settings(grid)]
    )
    once = {item.cell.cell_id: item for item in cells}
    check_videos(request.output, list(once.values()))
    scan = request.prompts.dataset.scan(request.num_images_per_prompt)
    check_images(list(once.values()), scan.num_overriding)
    for item in once.values():
        if not has_sizes_of_pictures(item, scan):  # else image by image, as they are read
            _check_format(request.output, item.cell.sampling)
    _check_overridden([item.cell for item in once.values()], scan)
    for item in once.values():
        if item.model.plug_in:
            check_columns(scan.num_overriding, item.model.plug_in)
        elif "scheduler" not in scan.num_overriding:  # else row by row
            check_eta(item.cell.sampling.scheduler, scan.highest.get("eta", 0), item.model, "column eta")
    for model in {item.cell.model: item.model for item in once.values() if not item.model.plug_in}.values():
        check_rows_loras(scan, model, request.prompts.dataset.on_invalid == RECORD)
        given = [name for name in scan.num_overriding if name in OPTIONAL_ARGUMENTS]
        check_taken(given, model, "prompts.columns.{}=null leaves its column unread")
    for item in once.values():
        check_executed(item.model, request.engine, item.cell.sampling, device)
        _check_tiled(item, scan)
    check_pictures(request, list(once.values()), scan)
    check_trajectory(request.output, list(once.values()), scan, bool(request.policy))
    said = check_prompts(request.prompts.dataset, scan, list(once.values()), request.num_images_per_prompt)
    overlay = checked_overlay(request.output.overlay, request.prompts.dataset)
    place = picture_place(request, list(once.values()), scan)
    found = Checked(request, scan, tuple(once.values()), StoreSpec(""), said, overlay, pictures=place)
    uri = f"runs/{_folder_name(found, found.cells[0].cell)}" if request.output.uri is None else request.output.uri
    return replace(found, store=parse_spec(uri, request.output.endpoint_url))


def _check_place(output: OutputOptions) -> None:
    """Refuse a relative folder inside a job that was submitted to Ray: its working folder is Ray's."""
    uri = "runs/..." if output.uri is None else output.uri
    if _RAY_JOB in os.environ and not is_remote(uri) and not Path(uri).is_absolute():
        raise DarkroomError(
            f"output.uri={uri}: inside a Ray job a relative folder lies in Ray's own cache of this job; give an "
            "absolute path that all nodes share, or s3://bucket/prefix"
        )


def _check_overridden(cells: Sequence[Cell], scan: PromptScan) -> None:
    """Refuse cells that differ in what every row says itself: they would have the same images."""
    num_valid = scan.num_rows - scan.num_invalid
    for name in [name for name, count in scan.num_overriding.items() if count == num_valid]:
        if len({getattr(cell.sampling, name) for cell in cells}) > 1:
            raise DarkroomError(
                f"grid.axes.{name}: every prompt row has a {name} of its own, and wins over the cell's; leave the axis "
                f"out, or leave the column unread by prompts.columns.{name}=null"
            )


def check_executed(model: InspectedModel, engine: EngineOptions, sampling: Sampling, device: str) -> None:
    """Raises DarkroomError where compiled code would hold weights or layers that come and go, or where the backend
    cannot compute."""
    backend_of(engine.backend, model, device, engine.compile is True)
    if engine.compile is True and sampling.cache != NONE:
        raise DarkroomError(
            f"sampling.cache={sampling.cache}: it changes layers for each call, which compiled code holds; leave out "
            "sampling.cache or engine.compile"
        )
    if engine.compile is True and "offload" in model.execution:
        raise DarkroomError(
            f"model.offload={model.execution['offload']}: compiled code needs its weights to stay where they are; "
            "leave out model.offload or engine.compile"
        )


def _check_tiled(item: CheckedCell, scan: PromptScan) -> None:
    """Raises DarkroomError where tiling would make other cells of the same images."""
    sampling, model = item.cell.sampling, item.model
    if not item.cell.model.vae_tiling or {"height", "width"} & scan.num_overriding.keys():
        return
    if has_sizes_of_pictures(item, scan):
        return
    assert model.folder
    side = tile_side(vae_config(Path(model.folder), model.parts))
    if side is not None and max(sampling.height, sampling.width) <= side:
        raise DarkroomError(
            f"model.vae_tiling=true: the VAE of {model.identity.repo_id} has tiles of {side} pixels, and images of "
            f"{sampling.width}x{sampling.height} are decoded whole; leave it out"
        )


def _check_format(output: OutputOptions, sampling: Sampling) -> None:
    fault = size_fault(output.image_format, sampling.height, sampling.width)
    if fault:
        raise DarkroomError(f"output.image_format={output.image_format}, {fault}")
    if output.watermark.text is not None and (fault := mark_fault(sampling.height, sampling.width)):
        raise DarkroomError(f"output.watermark.text={output.watermark.text}, {fault}")


# The run ------------------------------------------------------------------------------------------------------------


def _output_info(output: OutputOptions, overlay: str, are_videos: bool) -> OutputInfo:
    image_format, quality = quality_of(output, are_videos)
    steps = output.trajectory_steps if output.trajectory else None
    return OutputInfo(
        output.layout,
        image_format,
        quality,
        output.provenance,
        trajectory_prompts=output.trajectory_prompts if output.trajectory else None,
        trajectory_steps=None if steps is None else tuple(steps),
        overlay=overlay,
        watermark=output.watermark.text or "",
        c2pa=output.c2pa.certificate is not None,
        video=are_videos,
        own_columns=True if output.layout in CONTAINERS else None,
    )


def _folder_name(found: Checked, cell: Cell) -> str:
    """A folder named by what is rendered: the same request finds it again, another one does not touch it. That of a
    sweep stays the same when its grid grows. `cell`: the one of a request without a grid."""
    run, kind = found.run_info(), found.request.prompts.kind
    given = {name: value for name, value in vars(run.output).items() if value is not None}
    output = {name: value for name, value in given.items() if (name, value) not in _NEWER_DEFAULTS.items()}
    shared: tuple[object, ...] = (run.seed, run.num_images_per_prompt, output)
    if found.request.policy:
        scoring = found.request.scored_by
        shared += ([each.given for each in found.request.policy], list(scoring.extractors), scoring.clip_convention)
    if found.request.grid is not None:
        return f"sweep-{kind}-{digest('sweep', found.scan.fingerprint, *shared)[:8]}"
    name = digest(found.scan.fingerprint, cell.cell_id, *shared)
    return f"{kind}-{Path(cell.model.repo_id).name}-{name[:8]}"
