"""From a run and what is stored beside it to a report's content."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import PurePosixPath

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.evaluation.figures import Evaluation, read_evaluations
from darkroom.evaluation.latest import RunFigures, latest_figures
from darkroom.reporting.commands import run_command, words_of
from darkroom.reporting.content import (
    Acceptance,
    Axis,
    CellResult,
    Cost,
    DroppedCell,
    FailedImage,
    Picks,
    Picture,
    PromptFindings,
    ReportContent,
    Setting,
    control_rows,
)
from darkroom.reporting.edits import edits
from darkroom.reporting.facts import (
    MODEL,
    axes_of,
    facts,
    naming_schedulers,
    num_rows_left,
    settings_of_cells,
    shared_settings,
)
from darkroom.reporting.grid_image import GridBlock, grid_image, side_of
from darkroom.reporting.notes import notes
from darkroom.reporting.pictures import Row, Thumbnail, failed_image, pictures, read_rows, thumbnails
from darkroom.reporting.sampling import ImageRef, PromptChoice, middle
from darkroom.reporting.survey import NUM_PICKS, CellCount, Survey, survey
from darkroom.reporting.trajectories import FindReference, forming
from darkroom.runs.cells import CellInfo, Choices, Dropped, in_order, lossless_of, read_choices
from darkroom.runs.certificates import certificates
from darkroom.runs.drivers import spent
from darkroom.runs.equal_pixels import equal_lines
from darkroom.runs.images import stored_files
from darkroom.runs.reading import sample
from darkroom.runs.run import RunInfo
from darkroom.runs.watermarks import Detection, detection
from darkroom.storage.store import Store

_MARK_IMAGES = 64  # in which the watermark is looked for, each five times
_MOST_SAMPLES = 4  # images of a prompt and cell
_MOST_PICTURES = 2000  # on the page
_MOST_CONTAINERS = 300  # that they are taken from: each is fetched whole


@dataclass(frozen=True)
class ReportOptions:
    num_prompts: int = 24  # shown in every cell, at most
    run_href: str | None = None  # the run's folder as seen from the report's; None where no browser gets there from it
    grid_columns: str | None = None  # axis that lies across in the grid of all cells; None: the first
    num_grid_prompts: int = 1  # in that grid
    find_reference: FindReference = lambda: None  # an image of the reference that the run was measured against
    prompts: PromptFindings | None = None


@dataclass(frozen=True)
class _Gathered:
    """All that is known before a picture is read."""

    store: Store
    info: RunInfo
    cells: Mapping[str, CellInfo]
    settings: Mapping[str, Mapping[str, Setting]]  # of these cells
    all_settings: Mapping[str, Mapping[str, Setting]]  # of those that were dropped too
    axes: tuple[Axis, ...]
    evaluations: Sequence[Evaluation]
    figures: RunFigures
    found: Survey

    @property
    def order(self) -> list[str]:
        """cell_ids as every table has them."""
        return list(in_order(self.cells))


def build(store: Store, info: RunInfo, cells: Mapping[str, CellInfo], options: ReportOptions) -> ReportContent:
    """The run as it is now: finished or not, evaluated or not. Raises DarkroomError where nothing is committed."""
    choices = read_choices(store)
    dropped = [item for item in choices.dropped if item.cell_id in cells]
    finished = {cell_id: cell for cell_id, cell in cells.items() if cell_id not in {item.cell_id for item in dropped}}
    run = _gather(store, info, finished, cells, options.num_prompts)
    picked = _picked(run.found)
    scores = run.figures.image_scores
    grid_axes = _grid_axes(run, options.grid_columns)
    rows = _rows(run, picked)
    in_grid = _in_grid(run, rows, options.num_grid_prompts) if grid_axes else []
    larger, side = {record.image_id for record in in_grid}, side_of(len(in_grid))
    small = thumbnails(run.store, (row.record for row in rows), larger, side)
    shown = tuple(_shown(run, rows, small, options.run_href))
    failures = tuple(_failures(run))
    made_from = edits(store, info, [row.record for row in rows])
    formed = forming(store, info, run.cells, options.run_href, options.find_reference)
    seeds = len({settings["seed"] for settings in run.settings.values()})
    return ReportContent(
        title=_title(run),
        settings=shared_settings(info, finished, run.settings),
        facts=facts(
            info,
            finished,
            run.found.counts,
            run.found.provenance,
            run.evaluations,
            certificates(store),
            spent(store),
            _mark(store, info),
        ),
        command=_command(run, cells, choices),
        axes=run.axes,
        cells=tuple(_cell(run, cell_id) for cell_id in run.order),
        metrics=tuple(run.figures.metrics.values()),
        score_metric=scores.metric.name if scores else None,
        scores={cell_id: sample.scores for cell_id, sample in run.found.scores.items()},
        breakdown=run.found.breakdown.result(),
        by=run.figures.by,
        pictures=shown,
        picks=Picks(*(tuple(image.image_id for image in picked[name]) for name in ("best", "median", "worst"))),
        failures=failures,
        grid=_grid(run, grid_axes, in_grid, small) if in_grid else None,
        dropped=tuple(_dropped(item, run) for item in dropped),
        costs=tuple(_costs(run)),
        policy=str(info.policy or ""),
        acceptances=tuple(_acceptance(cell_id, run.found.counts[cell_id]) for cell_id in run.order if info.policy),
        controls=control_rows(run.figures.controls),
        forming=formed if formed and formed.strips else None,
        prompts=options.prompts,
        edits=made_from.shown,
        notes=(
            *(f"Halving: no cell could be dropped: {item.fault}." for item in choices.halvings if item.fault),
            *(formed.notes if formed else ()),
            *made_from.notes,
            *notes(info, store.spec, run.found, run.figures, shown, list(equal_lines(store, finished, info)), seeds),
        ),
    )


def _mark(store: Store, info: RunInfo) -> Detection | None:
    """In a sample of the stored images; None where no mark was put into any, or no image can be read."""
    text = info.output.watermark
    files = stored_files(store, sample(store, _MARK_IMAGES, 0)) if text else []
    pixels = [file.pixels() for file in files if not file.fault]
    return detection(pixels, text) if pixels else None


def _gather(
    store: Store, info: RunInfo, cells: Mapping[str, CellInfo], every: Mapping[str, CellInfo], num_prompts: int
) -> _Gathered:
    """`every`: with those that were dropped, so that what is left is called by the settings that chose it."""
    evaluations = read_evaluations(store)
    figures = latest_figures(evaluations, cells)
    all_settings = settings_of_cells(every, info)
    axes = axes_of(all_settings, {cell_id: all_settings[cell_id] for cell_id in cells})
    choice = _choice(info, len(cells), num_prompts)
    found = survey(store, cells, choice, figures.image_scores, [axis.name for axis in axes])
    if not any(count.by_status for count in found.counts.values()):
        raise DarkroomError(f"{store.describe()}: no shard is committed, so there is nothing to show; render it first")
    all_settings = naming_schedulers(all_settings, found.provenance)
    settings = {cell_id: all_settings[cell_id] for cell_id in cells}
    axes = axes_of(all_settings, settings)
    figures = replace(figures, present={cell_id: count.presence.images for cell_id, count in found.counts.items()})
    return _Gathered(store, info, cells, settings, all_settings, axes, evaluations, figures, found)


def _choice(info: RunInfo, num_cells: int, num_prompts: int) -> PromptChoice:
    """As many prompts as were asked for, where that makes no more pictures than a page bears."""
    num_samples = min(info.num_images_per_prompt, _MOST_SAMPLES)
    most = _MOST_PICTURES // (num_cells * num_samples)
    if info.output.layout != "files":
        most = min(most, _MOST_CONTAINERS // num_cells)
    return PromptChoice(max(1, min(num_prompts, most)), num_samples)


def _title(run: _Gathered) -> str:
    models = {str(settings[MODEL]) for settings in run.settings.values()}
    model = models.pop() if len(models) == 1 else f"{len(models)} models"
    prompts = run.info.prompts.name
    name = PurePosixPath(prompts.rstrip("/")).name if "/" in prompts else prompts
    what = f"Sweep of {model} on {name}" if len(run.all_settings) > 1 else f"{model} on {name}"
    return f"{what} (not finished)" if num_rows_left(run.info, run.found.counts.values()) else what


def _command(run: _Gathered, cells: Mapping[str, CellInfo], choices: Choices) -> str:
    batch_sizes = run.found.provenance.values["batch_size"].most_common(1)
    options = [evaluation.options for evaluation in run.evaluations]
    size = batch_sizes[0][0] if batch_sizes else None
    return run_command(run.info, list(in_order(cells).values()), run.store.spec, size, options, choices)


def _cell(run: _Gathered, cell_id: str) -> CellResult:
    count = run.found.counts[cell_id]
    found = run.figures
    figures, gaps, outdated = found.figures(cell_id), found.gaps(cell_id), found.outdated(cell_id)
    return CellResult(cell_id, run.settings[cell_id], count.by_status[OK], count.num_failed, figures, gaps, outdated)


def _dropped(item: Dropped, run: _Gathered) -> DroppedCell:
    return DroppedCell(
        item.cell_id,
        {axis.name: run.all_settings[item.cell_id][axis.name] for axis in run.axes},
        when=f"round {item.round} of {item.num_rounds}, after {item.num_images} images",
        why=f"{item.figure} {item.value:.4g}, rank {item.rank} of {item.num_cells}; {item.num_kept} went on",
    )


def _acceptance(cell_id: str, count: CellCount) -> Acceptance:
    found = count.policy
    why = dict(found.reasons.most_common()) | {f"{why}, and kept": n for why, n in found.flagged.most_common()}
    return Acceptance(cell_id, found.num_accepted, found.num_made, count.num_failed, why)


# Costs of lossy settings ---------------------------------------------------------------------------------------------


def _costs(run: _Gathered) -> Iterator[Cost]:
    """Of each cell with lossy settings, in the order of cells."""
    cells, counts = {cell_id: run.cells[cell_id] for cell_id in run.order}, run.found.counts
    for cell_id, base in lossless_of(cells).items():
        known = {name: gap for name, gap in run.figures.costs(cell_id).items() if gap.base == base}
        speed_up = _ratio(counts[base].image_s, counts[cell_id].image_s) if base else None
        yield Cost(cell_id, cells[cell_id].cell.lossy, base, speed_up, known)


def _ratio(one: float, other: float) -> float | None:
    return one / other if math.isfinite(one) and math.isfinite(other) and other > 0 else None


# Scores ------------------------------------------------------------------------------------------------------------


def _picked(found: Survey) -> dict[str, list[ImageRef]]:
    """Of all cells together; the median among the subsample."""
    sample = [image for cell in found.scores.values() for image in cell.images]
    return {
        "best": found.best.images(),
        "median": middle(sample, NUM_PICKS),
        "worst": found.worst.images()[::-1],
    }


# Images ------------------------------------------------------------------------------------------------------------


def _rows(run: _Gathered, picked: Mapping[str, list[ImageRef]]) -> list[Row]:
    """The chosen prompts in order of rows, in each cell; then the picks of other prompts."""
    sheet = list(run.found.prompts.images())
    rows = read_rows(run.store, [*sheet, *(image for group in picked.values() for image in group)])
    place = {cell_id: index for index, cell_id in enumerate(run.order)}
    return sorted(rows.values(), key=lambda row: (row.record.row, place[row.record.cell_id], row.image.sample_index))


def _shown(
    run: _Gathered, rows: Sequence[Row], small: Mapping[str, Thumbnail], run_href: str | None
) -> Iterator[Picture]:
    in_sheet = {image.image_id for image in run.found.prompts.images()}
    words = {cell_id: words_of(info) for cell_id, info in run.cells.items()}
    return pictures(run.store, rows, small, in_sheet, words, run_href)


def _grid_axes(run: _Gathered, columns: str | None) -> list[Axis]:
    """Along which cells differ, that of the columns first. Raises DarkroomError where there is none of that name."""
    axes = [axis for axis in run.axes if len(axis.values) > 1]
    names = [axis.name for axis in axes]
    if columns is not None and columns not in names:
        there = f"there are {', '.join(names)}" if names else "there are none"
        raise DarkroomError(f"grid.columns={columns}: no axis of this run; {there}")
    return sorted(axes, key=lambda axis: axis.name != columns) if columns else axes


def _in_grid(run: _Gathered, rows: Collection[Row], num_prompts: int) -> list[Record]:
    """The first prompts that are shown, in order of rows; the first image of each in every cell."""
    sheet = {image.image_id for image in run.found.prompts.images()}
    firsts = [row.record for row in rows if row.record.image_id in sheet and row.image.sample_index == 0]
    chosen = sorted({(record.row, record.prompt_id) for record in firsts})[:num_prompts]
    found = [record for record in firsts if (record.row, record.prompt_id) in chosen]
    return sorted(found, key=lambda record: (record.row, record.prompt_id))


def _grid(run: _Gathered, axes: Sequence[Axis], records: Sequence[Record], small: Mapping[str, Thumbnail]) -> bytes:
    points = {cell_id: tuple(run.settings[cell_id][axis.name] for axis in axes) for cell_id in run.cells}
    blocks = []
    for _, group in groupby(records, key=lambda record: record.prompt_id):
        own = list(group)
        pixels = {points[each.cell_id]: small[each.image_id].pixels for each in own}
        blocks.append(GridBlock(own[0].prompt, {point: each for point, each in pixels.items() if each is not None}))
    return grid_image(_title(run), axes, points.values(), blocks)


def _failures(run: _Gathered) -> Iterator[FailedImage]:
    rows = read_rows(run.store, run.found.failures)
    return (failed_image(rows[image.image_id]) for image in run.found.failures)
