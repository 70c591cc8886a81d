"""Early choice: render a part of every cell, drop the worst cells by one figure, render twice as much of the rest."""

from collections.abc import Sequence
from dataclasses import replace

from omegaconf import DictConfig

from darkroom.domain.errors import DarkroomError
from darkroom.engine.sweep import drawn, rounds, survivors
from darkroom.jobs.engine import own_device
from darkroom.jobs.evaluation import WantedEvaluation, measured_figure
from darkroom.jobs.exits import ExitCode, most_urgent
from darkroom.jobs.render import Rendering, render, render_shards
from darkroom.jobs.scoring import score
from darkroom.metrics.catalogue import CATALOGUE
from darkroom.runs.cells import Dropped, put_choices


def check_halving(config: DictConfig, evaluation: WantedEvaluation | None) -> None:
    """Refuse a choice that could not be made, before anything is rendered."""
    figure, keep = config.figure, config.keep
    if evaluation is None:
        raise DarkroomError("halving.figure needs figures while the sweep runs; set evaluate=inline")
    if figure not in evaluation.figures:
        raise DarkroomError(f"halving.figure={figure}: there will be none; figures are {', '.join(evaluation.figures)}")
    if not 0 < keep < 1:
        raise DarkroomError(f"halving.keep={keep}: give the share of cells that go on, such as 0.5")
    if config.num_images < 2:
        raise DarkroomError(f"halving.num_images={config.num_images}: give at least 2, better dozens")


def render_by_halving(job: Rendering, config: DictConfig) -> ExitCode:
    """Rounds of rendering and dropping, then the cells that are left as any sweep; the exit code.

    A start that goes on after a kill makes the same choices again, from images that are there already.
    """
    size = job.run.shard_size
    starts = list(range(0, job.run.prompts.num_rows, size))
    images_a_shard = max(1, job.found.num_images // len(job.found.cells) // len(starts))
    steps = rounds(len(starts), -(-config.num_images // images_a_shard))
    dropped: list[Dropped] = []
    chosen_from = list(job.found.cell_infos)
    codes: list[ExitCode] = []  # of all rounds: cells that are dropped have rows too
    for number, num_shards in enumerate(steps[:-1], start=1):
        part = replace(job, starts=drawn(job.run.prompts.fingerprint, starts, num_shards))
        print(
            f"\nround {number} of {len(steps)}: {len(part.found.cells)} cells, {num_shards} shards of each", flush=True
        )
        put_choices(job.store, part.unfinished(), [])  # earlier ones: these cells go on
        codes.append(render_shards(part))
        if codes[-1] is ExitCode.INTERRUPTED:
            return codes[-1]
        kept, lost = _chosen(part, config, number, len(steps))
        dropped += lost
        job = replace(job, found=replace(job.found, cells=tuple(c for c in job.found.cells if c.cell.cell_id in kept)))
    put_choices(job.store, chosen_from, dropped)
    print(f"\nlast round: {len(job.found.cells)} cells to their end", flush=True)
    return most_urgent(*codes, render(job))


def _chosen(part: Rendering, config: DictConfig, number: int, num_rounds: int) -> tuple[Sequence[str], list[Dropped]]:
    """(cells that go on, what is said of the others)."""
    assert part.evaluation
    found = part.opened()
    scored = score(found, part.evaluation.specs(part.engine.device), part.evaluation.extractor_ids, part.engine)
    device = own_device(part.engine.config)
    cell_ids = list(part.found.cell_infos)
    figures = measured_figure(found, part.evaluation, config.figure, cell_ids, scored, part.starts, device)
    values = {cell_id: figure.value for cell_id, figure in figures.items()}
    higher = CATALOGUE[config.figure.split(".")[1]].higher_is_better
    ranked = survivors(values, 1.0, higher)
    kept = survivors(values, config.keep, higher)
    lost = [
        Dropped(
            cell_id=cell_id,
            round=number,
            num_rounds=num_rounds,
            num_images=figures[cell_id].num_images,
            figure=config.figure,
            value=values[cell_id],
            rank=ranked.index(cell_id) + 1,
            num_cells=len(ranked),
            num_kept=len(kept),
        )
        for cell_id in ranked[len(kept) :]
    ]
    for item in lost:
        print(f"dropped: cell {item.cell_id}, {item.figure} {item.value:.4g}, rank {item.rank} of {item.num_cells}")
    return kept, lost
