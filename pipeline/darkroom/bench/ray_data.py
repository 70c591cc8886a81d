"""Against Ray Data's way of batch inference: `read_parquet`, `map_batches` with a pool of actors, `write_images`."""

import logging
import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.bench.darkroom_run import Commit, ray_dispatcher, render_job, whole
from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.script import call, diffusers_pipeline, of_one_scale
from darkroom.bench.work import Work, demo_work_to_compare, dit_work_to_compare, requests, tuned, with_best_batch_size
from darkroom.engine import cluster

_BATCH_SIZES = (4, 8, 16)
_BLOCKS_AN_ACTOR = 4  # a small file is one block, which would keep one actor busy and leave the others idle
_SPARE_CPUS = 2  # for Ray Data's own tasks that read and write: without them its actors would starve those


class Painter:
    """The class of `map_batches`: a pipeline in an actor."""

    def __init__(self, work: Work, log: Path) -> None:
        self._requests = {request.image_id: request for request in requests(work)}
        self._log = log / f"{os.getpid()}.txt"
        self._pipe = diffusers_pipeline(work)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        wanted = [self._requests[str(image_id)] for image_id in batch["image_id"]]
        images: dict[str, np.ndarray] = {}
        for part in of_one_scale(wanted, len(wanted)):
            made = call(self._pipe, part)
            images |= {each.image_id: np.asarray(image) for each, image in zip(part, made, strict=True)}
        with self._log.open("a") as log:
            log.write(f"{time.time()} {len(images)}\n")
        return {**batch, "image": np.stack([images[each.image_id] for each in wanted])}


def ray_data(setting: Setting) -> list[Figure]:
    """Both have one actor of one thread a core."""
    return _against_ray_data(setting, demo_work_to_compare(setting), "ray_data")


def dit_ray_data(setting: Setting) -> list[Figure]:
    """The same of a diffusion transformer, on rows of different guidance, negative prompts and repeated prompts."""
    return _against_ray_data(setting, dit_work_to_compare(setting), "dit_ray_data")


def _against_ray_data(setting: Setting, untuned: Work, name: str) -> list[Figure]:
    work, size = with_best_batch_size(setting, untuned), setting.num_workers
    cluster.start(None, size + _SPARE_CPUS)
    try:
        return [_measured(setting, work, size, name)]
    finally:
        cluster.stop()


def _measured(setting: Setting, work: Work, size: int, name: str) -> Figure:
    def darkroom(folder: Path) -> Timing:
        return whole(render_job(work, folder, ray_dispatcher(folder, size, work.device)).commits)

    few = replace(work, num_images=min(work.num_images, size * setting.sized(64, 12)))
    best, rates = tuned(setting, _BATCH_SIZES, lambda each: rival(few, each, size, setting.folder / f"tuning-{each}"))
    timings = alternated(setting, {"darkroom": darkroom, "ray data": lambda folder: rival(work, best, size, folder)})
    return Figure(
        name=name,
        what="images/s from prompt file to committed shards over those of Ray Data to written images, both warm",
        unit="x",
        values=ratios(timings["darkroom"], timings["ray data"]),
        reach=Reach(1.5),
        timings=timings,
        settings={**work.said, "workers": size, "ray_data_batch_size": best, "ray_data_tried": rates},
    )


def rival(work: Work, batch_size: int, num_workers: int, folder: Path) -> Timing:
    """From when every actor had finished a batch to the last written image."""
    import ray.data

    _quiet()
    images, log = folder / "images", folder / "log"
    log.mkdir(parents=True)
    (
        ray.data.read_parquet(str(_with_ids(work, folder)))
        .repartition(_BLOCKS_AN_ACTOR * num_workers)
        .map_batches(
            Painter,
            fn_constructor_args=(work, log),
            batch_size=batch_size,
            compute=ray.data.ActorPoolStrategy(size=num_workers),
            num_cpus=1,
            num_gpus=1 if work.device == "cuda" else None,
        )
        .write_images(str(images), column="image")
    )
    written = list(images.rglob("*.png"))
    assert len(written) == work.num_images, f"{len(written)} of {work.num_images} images were written"
    return whole(_commits(log), max(path.stat().st_mtime for path in written))


def _with_ids(work: Work, folder: Path) -> Path:
    """The prompts by their guidance, which a call shares, with the ids of Darkroom's requests: equal noise."""
    wanted = [each for batch in of_one_scale(requests(work)[: work.num_images], work.num_images) for each in batch]
    columns = {"prompt": [each.prompt for each in wanted], "image_id": [each.image_id for each in wanted]}
    path = folder / "prompts.parquet"
    pq.write_table(pa.table(columns), path)
    return path


def _commits(log: Path) -> list[Commit]:
    lines = [(path.stem, line.split()) for path in log.iterdir() for line in path.read_text().splitlines()]
    return [Commit(worker, float(at_s), int(count)) for worker, (at_s, count) in lines]


def _quiet() -> None:
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
