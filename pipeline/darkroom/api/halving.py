"""Successive halving of a sweep: render a part of every cell, drop the worst by one figure, render twice as much of
the rest, and so on."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from darkroom.api.checking import Checked
from darkroom.api.evaluation import CheckedEvaluation, is_rated, stored_options
from darkroom.api.evaluation_options import HalvingOptions
from darkroom.api.events import CellDropped, Rendered, RoundStarted
from darkroom.api.measuring import extract_for, measured_figure
from darkroom.api.render_job import RenderJob, render_shards
from darkroom.domain.errors import DarkroomError
from darkroom.engine.planning import drawn, num_shards, num_survivors, rounds, survivors
from darkroom.evaluation.catalogue import definition
from darkroom.evaluation.measuring import rank_fault
from darkroom.runs.cells import Dropped, Halving, put_choices
from darkroom.runs.run import RunInfo

_LEAST_IMAGES = 2  # of a first round


def check_halving(options: HalvingOptions, evaluation: CheckedEvaluation | None) -> None:
    """Refuse a choice that could not be made, before anything is rendered."""
    figure, keep = options.figure, options.keep
    if evaluation is None:
        raise DarkroomError("halving.figure needs figures while the sweep runs; set evaluate=inline")
    if is_rated(figure):
        raise DarkroomError(
            f"halving.figure={figure}: people vote on images that are there, and cells are dropped while they are "
            f"rendered; name one of {', '.join(evaluation.figures)}"
        )
    if figure not in evaluation.figures:
        raise DarkroomError(f"halving.figure={figure}: there will be none; figures are {', '.join(evaluation.figures)}")
    if not 0 < keep < 1:
        raise DarkroomError(f"halving.keep={keep}: give the share of cells that go on, such as 0.5")


def halving_fault(found: Checked, options: HalvingOptions, run: RunInfo | None) -> str:
    """Why no cell can be dropped, with the remedy; empty where cells can be. `run`: what is there already, which keeps
    its shards."""
    num_cells, num_rows = len(found.cells), found.scan.num_rows
    num_images, shards = _images_and_shards(found, run)
    if num_cells == 1:
        return "the grid has one cell; give it more cells, or leave halving out"
    if len(_steps(num_images, shards, options)) == 1:
        return _too_few(num_images, num_rows, shards, options, is_fixed=run is not None)
    if num_survivors(num_cells, options.keep) == num_cells:
        most = (num_cells - 1) * 100 // num_cells / 100
        return f"halving.keep={options.keep:g} of {num_cells} cells is all of them; give halving.keep={most:g} or less"
    return ""


def check_first_round(
    found: Checked, options: HalvingOptions, evaluation: CheckedEvaluation, run: RunInfo | None
) -> None:
    """Refuse a figure by which the first round, whose images are the fewest, would drop cells by chance."""
    num_images, shards = _images_and_shards(found, run)
    first = _steps(num_images, shards, options)[0] * _images_a_shard(num_images, shards)
    info, metric = evaluation.of_figure(options.figure)
    if fault := rank_fault(metric, first, info):
        raise DarkroomError(f"halving.figure={options.figure}, halving.num_images={options.num_images}: {fault}")


def _images_and_shards(found: Checked, run: RunInfo | None) -> tuple[int, int]:
    """Of each cell."""
    size = run.shard_size if run else found.shard_size
    return found.num_images // len(found.cells), num_shards(found.scan.num_rows, size)


def _too_few(num_images: int, num_rows: int, shards: int, options: HalvingOptions, is_fixed: bool) -> str:
    """Of a sweep whose first round is all: `num_images` and `shards` of each cell."""
    least = max(_LEAST_IMAGES, num_images // 4)
    said = f"the first round renders all {num_images} images of a cell (halving.num_images={options.num_images}"
    if len(_steps(num_images, shards, replace(options, num_images=_LEAST_IMAGES))) > 1:
        return f"{said}); give halving.num_images={(shards - 1) * _images_a_shard(num_images, shards)} or less"
    smaller = max(1, num_rows // 4)
    if len(_steps(num_images, num_shards(num_rows, smaller), replace(options, num_images=least))) == 1:
        return f"{said}); give more prompts, or leave halving out"
    elsewhere = " and another output.uri, since a run keeps its shards" if is_fixed else ""
    return (
        f"{said}, in whole shards, of which a cell has {shards}); give halving.num_images={least} and "
        f"engine.shard_size={smaller}{elsewhere}"
    )


def _steps(num_images: int, shards: int, options: HalvingOptions) -> list[int]:
    """Shards of each cell that are rendered by the end of each round."""
    return rounds(shards, -(-options.num_images // _images_a_shard(num_images, shards)))


def _images_a_shard(num_images: int, shards: int) -> int:
    return max(1, num_images // shards)


def halved(job: RenderJob, options: HalvingOptions) -> tuple[RenderJob, tuple[Rendered, ...]]:
    """Rounds of rendering and dropping: (the job of the cells that are left, what the rounds rendered).

    A call that goes on after a kill makes the same choices again, from images that are there already.
    """
    first_rows = job.info.first_rows
    steps = _steps(job.found.num_images // len(job.found.cells), len(first_rows), options)
    dropped: list[Dropped] = []
    halving = _begun(job, options)
    put_choices(job.store, [], [], halving)
    rendered: list[Rendered] = []  # of all rounds: cells that are dropped have rows too
    for number, count in enumerate(steps[:-1], start=1):
        part = replace(job, first_rows=drawn(job.info.first_prompts.fingerprint, first_rows, count))
        job.progress(RoundStarted(number, len(steps), len(part.found.cells), count))
        put_choices(job.store, part.unfinished(), [], halving)  # earlier ones: these cells go on
        rendered.append(render_shards(part))
        going_on, lost = _chosen(part, options, number, len(steps))
        dropped += lost
        cells = tuple(cell for cell in job.found.cells if cell.cell.cell_id in going_on)
        job = replace(job, found=replace(job.found, cells=cells))
    kept = list(job.found.cell_infos)
    put_choices(job.store, halving.cell_ids, dropped, replace(halving, kept=kept))
    job.progress(RoundStarted(len(steps), len(steps), len(job.found.cells), len(first_rows)))
    return job, tuple(rendered)


def _begun(job: RenderJob, options: HalvingOptions) -> Halving:
    """As it is before any cell is dropped."""
    assert job.evaluation
    cell_ids = list(job.found.cell_infos)
    fault = halving_fault(job.found, options, job.info)
    return Halving(asdict(options), stored_options(job.evaluation.options), cell_ids, cell_ids, fault)


def _chosen(
    part: RenderJob, options: HalvingOptions, number: int, num_rounds: int
) -> tuple[Sequence[str], list[Dropped]]:
    """(cells that go on, what is said of the others)."""
    assert part.evaluation
    run, progress = part.opened(), part.progress
    extracted = extract_for(run, part.evaluation, part.engine, progress)
    what = (run, part.evaluation, options.figure, list(part.found.cell_infos), extracted, part.first_rows)
    figures = measured_figure(*what, part.engine, progress)
    values = {cell_id: figure.value for cell_id, figure in figures.items()}
    info, metric = part.evaluation.of_figure(options.figure)
    higher = definition(metric, info).higher_is_better
    ranked = survivors(values, 1.0, higher)
    going_on = survivors(values, options.keep, higher)
    lost = [
        Dropped(
            cell_id=cell_id,
            round=number,
            num_rounds=num_rounds,
            num_images=figures[cell_id].num_images,
            figure=options.figure,
            value=values[cell_id],
            rank=ranked.index(cell_id) + 1,
            num_cells=len(ranked),
            num_kept=len(going_on),
        )
        for cell_id in ranked[len(going_on) :]
    ]
    for item in lost:
        progress(CellDropped(item))
    return going_on, lost
