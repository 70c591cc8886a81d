"""Whole commands, start-up and all: a sweep as one job, features while rendering, and how soon a run resumes."""

import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.work import captions, write_prompts
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, Shard
from darkroom.domain.records import Record, samples
from darkroom.engine.planning import plan, shard_tasks
from darkroom.engine.tasks import ShardTask
from darkroom.prompts.opening import open_prompts
from darkroom.runs import manifest
from darkroom.runs.cells import read_cells
from darkroom.runs.files import IMAGES_PREFIX, METADATA_PREFIX, image_key, manifest_key
from darkroom.runs.manifest import to_table
from darkroom.runs.reading import records
from darkroom.runs.run import RunInfo, open_run
from darkroom.storage.store import StoreSpec, open_store


def seconds_of(setting: Setting, job: str, *overrides: str) -> float:
    """How long the job takes. Raises DarkroomError with its last line where it fails."""
    started = time.perf_counter()
    ended = subprocess.run(
        [*setting.darkroom, job, *overrides], capture_output=True, text=True, check=False, errors="replace"
    )
    seconds = time.perf_counter() - started
    if ended.returncode:
        lines = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise DarkroomError(f"bench: `darkroom {job}` ended with exit code {ended.returncode}: {lines[-1]}")
    return seconds


_AXES = {
    "guidance_scale": (1, 3, 5, 7.5, 12),
    "scheduler": ("ddim", "euler", "dpmpp_2m"),
    "num_inference_steps": (5, 10, 20),
}
_PROMPTS = 8  # of each cell: few, as for somebody who chooses settings


def sweep_sharing(setting: Setting) -> list[Figure]:
    """5 x 3 x 3 cells at full scale; fewer at a smaller one."""
    axes = {name: values[: min(len(values), setting.sized(len(values)))] for name, values in _AXES.items()}
    cells = list(product(*axes.values()))
    prompts = write_prompts(setting.folder / "sweep-prompts.parquet", captions(_PROMPTS))
    shared = ("prompts=file", f"prompts.uri={prompts}", "engine=local", f"engine.device={setting.device}")

    def as_one(folder: Path) -> Timing:
        grid = [f"grid.axes.{name}=[{','.join(map(str, values))}]" for name, values in axes.items()]
        return Timing(len(cells), seconds_of(setting, "sweep", *shared, *grid, f"output.uri={folder}"))

    def one_by_one(folder: Path) -> Timing:
        seconds = 0.0
        for number, cell in enumerate(cells):
            settings = [f"sampling.{name}={value}" for name, value in zip(axes, cell, strict=True)]
            seconds += seconds_of(setting, "generate", *shared, *settings, f"output.uri={folder / str(number)}")
        return Timing(len(cells), seconds)

    timings = alternated(setting, {"one sweep": as_one, "runs": one_by_one})
    return [
        Figure(
            name="sweep_sharing",
            what=f"time of {len(cells)} runs, over that of one sweep of as many cells",
            unit="x",
            values=ratios(timings["one sweep"], timings["runs"]),
            reach=Reach(3),
            timings=timings,
            settings={"axes": axes, "prompts": _PROMPTS, "engine": "local", "model": "darkroom/demo"},
        )
    ]


_EVALUATED_IMAGES = 64


def inline_evaluation(setting: Setting) -> list[Figure]:
    """With the embedded CLIP; both end with the same figures of the run."""
    num_images = setting.sized(_EVALUATED_IMAGES, 4)
    prompts = write_prompts(setting.folder / "inline-prompts.parquet", captions(num_images))
    engine = ("engine=local", f"engine.device={setting.device}")
    generate = ("prompts=file", f"prompts.uri={prompts}", *engine)

    def inline(folder: Path) -> Timing:
        return Timing(num_images, seconds_of(setting, "generate", *generate, f"output.uri={folder}", "evaluate=inline"))

    def after(folder: Path) -> Timing:
        seconds = seconds_of(setting, "generate", *generate, f"output.uri={folder}")
        return Timing(num_images, seconds + seconds_of(setting, "evaluate", f"run={folder}", *engine))

    timings = alternated(setting, {"inline": inline, "after": after})
    return [
        Figure(
            name="inline_evaluation",
            what="time of generate and then evaluate, over that of generate with evaluate=inline",
            unit="x",
            values=ratios(timings["inline"], timings["after"]),
            reach=Reach(1.2),
            timings=timings,
            settings={"images": num_images, "extractors": ["demo_clip"], "engine": "local", "model": "darkroom/demo"},
        )
    ]


# Resuming -----------------------------------------------------------------------------------------------------------


def commit_all_but_last(run: Path, prompts: Path) -> float:
    """Every shard but the last, with records like those of the shard that the run has; in seconds."""
    started = time.perf_counter()
    store = open_store(StoreSpec(str(run)))
    info, model = open_run(store), next(records(store))
    (cell,) = (found.cell for found in read_cells(store).values())
    for task in _left(info, cell, prompts, set(manifest.committed(store))):
        if task.shard.stop < info.prompts.num_rows:
            manifest.commit(store, task.shard, to_table(list(_records(task, info, model)), task.extras, {}))
    return time.perf_counter() - started


def forget_last(run: Path) -> None:
    """As if no image of the last shard had been made."""
    store = open_store(StoreSpec(str(run)))
    num_rows = open_run(store).prompts.num_rows
    store.delete([manifest_key(shard) for shard in manifest.committed(store) if shard.stop == num_rows])
    shutil.rmtree(run / IMAGES_PREFIX, ignore_errors=True)


def _left(info: RunInfo, cell: Cell, prompts: Path, committed: set[Shard]) -> Iterator[ShardTask]:
    shards = plan(info.prompts.num_rows, info.shard_size, [cell.cell_id], info.prompts.fingerprint, committed)
    return shard_tasks(shards, {cell.cell_id: cell}, open_prompts(str(prompts)).blocks)


def _records(task: ShardTask, info: RunInfo, model: Record) -> Iterator[Record]:
    for row in task.rows:
        for sample in samples(row, task.cell, info.seed, info.num_images_per_prompt):
            request = sample.request
            yield replace(
                model,
                image_id=request.image_id,
                prompt_id=row.prompt_id,
                prompt=row.prompt,
                seed=request.seed,
                row=row.row,
                shard_id=task.shard.shard_id,
                key=image_key(request.image_id, "png"),
            )


_COMMITTED_IMAGES = 1_000_000
_SHARD_SIZE = 64  # what engine.shard_size=auto is for so few images
_POLL_S = 0.01
_LONGEST_S = 600.0


def resume(setting: Setting) -> list[Figure]:
    """From the command to its first new image, with a million committed before; for comparison, in a new folder."""
    num_shards = setting.sized(_COMMITTED_IMAGES // _SHARD_SIZE)
    num_images = num_shards * _SHARD_SIZE
    prompts = setting.folder / "resume-prompts.parquet"
    pq.write_table(pa.table({"prompt": [f"a picture of thing {n}" for n in range(num_images + _SHARD_SIZE)]}), prompts)
    run = setting.folder / "resume-run"
    _until_new(setting, prompts, run, METADATA_PREFIX)
    seconds = commit_all_but_last(run, prompts)
    setting.say(f"  {num_images} images committed as manifests in {seconds:.0f} s")

    def resumed(_: Path) -> Timing:
        forget_last(run)
        return Timing(1, _until_new(setting, prompts, run, IMAGES_PREFIX))

    def fresh(folder: Path) -> Timing:
        return Timing(1, _until_new(setting, prompts, folder, IMAGES_PREFIX))

    timings = alternated(setting, {"resumed": resumed, "fresh": fresh})
    return [
        Figure(
            name="resume",
            what=f"from the command to the first new image, {num_images} images being committed",
            unit="s",
            values=[timing.seconds for timing in timings["resumed"]],
            reach=Reach(10, at_least=False),
            timings=timings,
            settings={
                "images": num_images,
                "manifests": num_shards,
                "model": "darkroom/demo",
                "num_inference_steps": 1,
                "engine": "local",
            },
        )
    ]


def _until_new(setting: Setting, prompts: Path, run: Path, prefix: str) -> float:
    """Seconds from the command to its first new file under this prefix; SIGTERM stops it then."""

    def there() -> set[Path]:
        return set((run / prefix).glob("*/[!.]*"))

    before = there()
    started = time.time()
    process = subprocess.Popen(
        _command(setting, prompts, run), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        new = _waited(process, lambda: there() - before)
        return min(path.stat().st_mtime for path in new) - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate()


def _command(setting: Setting, prompts: Path, run: Path) -> list[str]:
    overrides = ["prompts=file", f"prompts.uri={prompts}", f"output.uri={run}", "sampling.num_inference_steps=1"]
    engine = ["engine=local", f"engine.device={setting.device}", f"engine.shard_size={_SHARD_SIZE}"]
    return [*setting.darkroom, "generate", *overrides, *engine]


def _waited(process: subprocess.Popen[str], new: Callable[[], Collection[Path]]) -> Collection[Path]:
    deadline = time.time() + _LONGEST_S
    while not (found := new()):
        if process.poll() is not None:
            said = process.stderr.read().strip() if process.stderr else ""
            raise DarkroomError(f"bench: `darkroom generate` ended and made no image: {said[-200:]}")
        if time.time() > deadline:
            raise DarkroomError(f"bench: `darkroom generate` made no image within {_LONGEST_S:.0f} s")
        time.sleep(_POLL_S)
    return found
