"""Early choice: render a part of every cell, drop the worst cells by one figure, render twice as much of the rest."""

from collections.abc import Sequence
from dataclasses import replace

from darkroom.api.engine import own_device
from darkroom.api.evaluation import CheckedEvaluation
from darkroom.api.events import CellDropped, Rendered, RoundStarted
from darkroom.api.measuring import extract_for, measured_figure
from darkroom.api.options import HalvingOptions
from darkroom.api.rendering import RenderJob, RenderResult, render_job, render_shards
from darkroom.domain.errors import DarkroomError
from darkroom.engine.planning import drawn, rounds, survivors
from darkroom.metrics.catalogue import CATALOGUE
from darkroom.runs.cells import Dropped, put_choices


def check_halving(options: HalvingOptions, evaluation: CheckedEvaluation | None) -> None:
    """Refuse a choice that could not be made, before anything is rendered."""
    figure, keep = options.figure, options.keep
    if evaluation is None:
        raise DarkroomError("halving.figure needs figures while the sweep runs; set evaluate=inline")
    if figure not in evaluation.figures:
        raise DarkroomError(f"halving.figure={figure}: there will be none; figures are {', '.join(evaluation.figures)}")
    if not 0 < keep < 1:
        raise DarkroomError(f"halving.keep={keep}: give the share of cells that go on, such as 0.5")


def render_by_halving(job: RenderJob, options: HalvingOptions) -> RenderResult:
    """Rounds of rendering and dropping, then the cells that are left as any sweep.

    A call that goes on after a kill makes the same choices again, from images that are there already.
    """
    size = job.info.shard_size
    starts = list(range(0, job.info.prompts.num_rows, size))
    images_a_shard = max(1, job.found.num_images // len(job.found.cells) // len(starts))
    steps = rounds(len(starts), -(-options.num_images // images_a_shard))
    dropped: list[Dropped] = []
    chosen_from = list(job.found.cell_infos)
    rendered: list[Rendered] = []  # of all rounds: cells that are dropped have rows too
    for number, num_shards in enumerate(steps[:-1], start=1):
        part = replace(job, starts=drawn(job.info.prompts.fingerprint, starts, num_shards))
        job.progress(RoundStarted(number, len(steps), len(part.found.cells), num_shards))
        put_choices(job.store, part.unfinished(), [])  # earlier ones: these cells go on
        rendered.append(render_shards(part))
        going_on, lost = _chosen(part, options, number, len(steps))
        dropped += lost
        cells = tuple(cell for cell in job.found.cells if cell.cell.cell_id in going_on)
        job = replace(job, found=replace(job.found, cells=cells))
    put_choices(job.store, chosen_from, dropped)
    job.progress(RoundStarted(len(steps), len(steps), len(job.found.cells), len(starts)))
    return render_job(job, tuple(rendered))


def _chosen(
    part: RenderJob, options: HalvingOptions, number: int, num_rounds: int
) -> tuple[Sequence[str], list[Dropped]]:
    """(cells that go on, what is said of the others)."""
    assert part.evaluation
    run, progress = part.opened(), part.progress
    extracted = extract_for(run, part.evaluation, part.engine, progress)
    device, cell_ids = own_device(part.engine.options), list(part.found.cell_infos)
    figures = measured_figure(run, part.evaluation, options.figure, cell_ids, extracted, part.starts, device, progress)
    values = {cell_id: figure.value for cell_id, figure in figures.items()}
    higher = CATALOGUE[options.figure.split(".")[1]].higher_is_better
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
