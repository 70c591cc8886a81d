"""Render every cell of a grid as one job. A grid that grows renders its new cells alone."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from darkroom.conf.keys import check_ranges
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.engine.sweep import Grid, Settings, expand
from darkroom.jobs.batch_size import settle
from darkroom.jobs.build import Wanted, WantedCell, checked_cell, collected, find_model, sweep_name
from darkroom.jobs.checks import warn
from darkroom.jobs.engine import likely_device, started
from darkroom.jobs.evaluation import wanted_inline
from darkroom.jobs.halving import check_halving, render_by_halving
from darkroom.jobs.overrides import escaped
from darkroom.jobs.render import Rendering, render, say_start
from darkroom.rendering.inspection import InspectedModel
from darkroom.runs.cells import axes, put_choices, read_cells, read_choices
from darkroom.runs.opening import claim
from darkroom.storage.opening import open_store


def run(config: DictConfig) -> int:
    found = wanted_sweep(config, likely_device(config.engine))
    warn(found)
    evaluation = wanted_inline(config)
    if config.halving.figure:
        check_halving(config.halving, evaluation)
    store = open_store(found.store)
    store.check()
    with started(config.engine) as engine:
        if engine.device != likely_device(config.engine):
            found = wanted_sweep(config, engine.device)
        run_info = claim(store, replace(found.run_info(), cell_id=""), found.cell_infos)
        read_choices(store)  # refuses what cannot be read now, and not once the cells are rendered
        found = found.called_as_in(read_cells(store))
        run_info = settle(found, store, engine, run_info)
        _say_what(found)
        job = Rendering(found, run_info, store, engine, evaluation)
        say_start(job)
        if config.halving.figure:
            return render_by_halving(job, config.halving)
        put_choices(store, list(found.cell_infos), [])  # every cell of this grid is rendered to its end
        return render(job)


def wanted_sweep(config: DictConfig, device: str) -> Wanted:
    """Check every cell of the grid before anything is loaded; equal cells are one."""
    check_ranges(config)
    find = cache(find_model)  # a look at a model digests its weights: once a model, and not once a cell
    cells = [_cell(config, settings, device, find) for settings in expand(_grid(config.grid))]
    once = {item.cell.cell_id: item for item in cells}
    return collected(config, tuple(once.values()), sweep_name)


def _grid(config: DictConfig) -> Grid:
    plain: Any = OmegaConf.to_container(config, resolve=True)
    axes = {name: values for name, values in plain["axes"].items() if values is not None}
    empty = [name for name, values in axes.items() if not values]
    if empty:
        raise DarkroomError(f"grid.axes.{empty[0]}=[] has no value; give some, or leave the axis out")
    return Grid(**{**plain, "axes": axes, "mode": config.mode.value})


def _cell(
    config: DictConfig, settings: Settings, device: str, find: Callable[[ModelRef, str], InspectedModel]
) -> WantedCell:
    """The job's own `sampling` and `model`, with this cell's settings on top."""
    said = ", ".join(f"{name}={'null' if value is None else value}" for name, value in settings.items())
    own: Any = OmegaConf.masked_copy(config, ["sampling", "model"])
    try:
        for name, value in settings.items():
            text = escaped(value) if isinstance(value, str) else value
            OmegaConf.update(own, f"{_part(config, name)}.{name}", text)
        check_ranges(own)
        return checked_cell(own.model, own.sampling, device, find, config.sampling)
    except (OmegaConfBaseException, DarkroomError) as error:
        raise DarkroomError(f"grid cell ({said}): {str(error).splitlines()[0]}") from error


def _part(config: DictConfig, name: str) -> str:
    """`sampling` or `model`, whichever has a setting of this name."""
    for part in ("sampling", "model"):
        if name in config[part] and name in config.grid.axes:
            return part
    raise DarkroomError(f"no setting {name!r} tells cells apart; those that do are {', '.join(config.grid.axes)}")


def _say_what(found: Wanted) -> None:
    run, cells = found.run_info(), found.cell_infos.values()
    seeds = {info.cell.sampling.seed for info in cells}
    noise = "the same noise in each" if len(seeds) == 1 else f"noise of {len(seeds)} seeds"
    print(
        f"{found.num_images} images: {len(cells)} cells of {found.scan.num_rows} prompts ({run.prompts.name}), {noise}"
        + (f"; rows override {found.scan.overriding}" if found.scan.overriding else "")
    )
    for name, values in axes(cells, run).items():
        print(f"  {name}: {', '.join(str(value) for value in values)}")
