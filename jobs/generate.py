"""Render a prompt dataset. The same command again goes on where it was, and renders nothing twice."""

from dataclasses import replace

from omegaconf import DictConfig

from darkroom.jobs.batch_size import settle
from darkroom.jobs.build import Wanted, wanted
from darkroom.jobs.checks import warn
from darkroom.jobs.engine import likely_device, started
from darkroom.jobs.evaluation import wanted_inline
from darkroom.jobs.render import Rendering, render, say_start
from darkroom.runs.cells import read_cells
from darkroom.runs.opening import claim
from darkroom.storage.opening import open_store


def run(config: DictConfig) -> int:
    found = wanted(config, likely_device(config.engine))
    warn(found)
    evaluation = wanted_inline(config)
    store = open_store(found.store)
    store.check()
    with started(config.engine) as engine:
        if engine.device != likely_device(config.engine):
            found = wanted(config, engine.device)
        run_info = claim(store, replace(found.run_info(), cell_id=found.cells[0].cell.cell_id), found.cell_infos)
        found = found.called_as_in(read_cells(store))
        run_info = settle(found, store, engine, run_info)
        _say_what(found)
        job = Rendering(found, run_info, store, engine, evaluation)
        say_start(job)
        return render(job)


def _say_what(found: Wanted) -> None:
    info = found.cells[0].info
    sampling = info.cell.sampling
    print(
        f"{found.scan.num_images} images from {found.scan.num_rows} prompts ({found.run_info().prompts.name}) with "
        f"{info.ref.repo_id}: {sampling.num_inference_steps} steps of {sampling.scheduler}, guidance "
        f"{sampling.guidance_scale:g}, {sampling.width}x{sampling.height}"
        + (f"; rows override {found.scan.overriding}" if found.scan.overriding else "")
    )
