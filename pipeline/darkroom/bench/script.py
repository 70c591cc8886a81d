"""Against the script that people write: a loop of `pipe(prompts)` and `image.save`, warm, with its best batch."""

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch

from darkroom.bench import ours
from darkroom.bench.crew import Crew
from darkroom.bench.figure import Figure, Reach, Timing, ratios
from darkroom.bench.log import whole
from darkroom.bench.plain import call, plain_pipeline
from darkroom.bench.setting import Setting, alternated
from darkroom.bench.tuning import tuned, with_own_best
from darkroom.bench.work import Work, demo_work, requests
from darkroom.domain.images import ImageRequest
from darkroom.engine import cluster
from darkroom.runs.encoding import decode
from darkroom.runs.keys import image_key

_IMAGES_A_WORKER = 240
_BATCH_SIZES = (1, 4, 8, 16, 32)


class Script:
    """A process with the pipeline loaded; torch takes as many threads as it does by itself."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._requests = requests(work)
        self._pipe = plain_pipeline(work)

    def timing(self, batch_size: int, num_images: int, folder: Path) -> Timing:
        """After a batch to warm up."""
        folder.mkdir(parents=True)
        wanted = self._requests[:num_images]
        self._batch(wanted[:batch_size], folder)
        started = time.perf_counter()
        for start in range(0, len(wanted), batch_size):
            self._batch(wanted[start : start + batch_size], folder)
        return Timing(len(wanted), time.perf_counter() - started)

    def num_threads(self) -> int:
        return torch.get_num_threads()

    def _batch(self, batch: Sequence[ImageRequest], folder: Path) -> None:
        prompts, seeds = [request.prompt for request in batch], [request.seed for request in batch]
        images = call(self._pipe, self._work, prompts, seeds)
        for request, image in zip(batch, images, strict=True):
            image.save(folder / f"{request.image_id}.png")


def diffusers_script(setting: Setting) -> list[Figure]:
    """Both have the whole machine: Darkroom a worker a core, the script torch's own threads."""
    size = setting.num_workers
    work = with_own_best(setting, demo_work(setting, size * setting.sized(_IMAGES_A_WORKER, 24)))
    cluster.start(None, size)
    try:
        with Crew(1, partial(Script, work)) as crew:
            return [_measured(setting, work, size, crew)]
    finally:
        cluster.stop()


def _measured(setting: Setting, work: Work, size: int, crew: Crew) -> Figure:
    def script(batch_size: int, num_images: int, folder: Path) -> Timing:
        return crew.call(Script.timing, batch_size, num_images, folder)[0]

    def darkroom(folder: Path) -> Timing:
        return whole(ours.rendered(work, folder, ours.on_ray(folder, size, work.device)).commits)

    few = setting.sized(64, 2)
    best, rates = tuned(setting, _BATCH_SIZES, lambda each: script(each, few, setting.folder / f"tuning-{each}"))
    timings = alternated(
        setting, {"darkroom": darkroom, "script": lambda folder: script(best, work.num_images, folder)}
    )
    return Figure(
        name="diffusers_script",
        what="images/s from prompt file to committed shards over those of a plain diffusers loop that saves, both warm",
        unit="x",
        values=ratios(timings["darkroom"], timings["script"]),
        reach=Reach(1.5),
        timings=timings,
        settings={
            **work.said,
            "workers": size,
            "script_batch_size": best,
            "script_tried": rates,
            "script_threads": crew.call(Script.num_threads)[0],
            "largest_difference": largest_difference(work, setting.folder / "darkroom-0", setting.folder / "script-0"),
        },
    )


def largest_difference(work: Work, run: Path, plain: Path) -> int:
    """Of the 8-bit values of all images, a run's and those that lie by their id in a folder."""
    ids = [request.image_id for request in requests(work)]
    pairs = ((run / image_key(image_id, "png"), plain / f"{image_id}.png") for image_id in ids)
    return max(_difference(*(decode(path.read_bytes()) for path in pair)) for pair in pairs)


def _difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(np.int16) - other.astype(np.int16)).max())
