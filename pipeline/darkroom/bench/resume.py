"""How soon a command with a million committed images behind it makes its first new one: whole commands."""

import signal
import subprocess
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.bench.far_run import commit_all_but_last, forget_last
from darkroom.bench.figure import Figure, Reach, Timing
from darkroom.bench.setting import Setting, alternated
from darkroom.domain.errors import DarkroomError
from darkroom.runs.keys import IMAGES_PREFIX, METADATA_PREFIX

_IMAGES = 1_000_000
_SHARD_SIZE = 64  # engine.shard_size's default
_POLL_S = 0.01
_LONGEST_S = 600.0


def resume(setting: Setting) -> list[Figure]:
    """The same command on a folder with nothing in it says how much of that any start takes."""
    num_shards = setting.sized(_IMAGES // _SHARD_SIZE)
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
    """Seconds from the command to its first new file under this prefix; it is stopped then, politely."""

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


def _waited(process: subprocess.Popen, new: Callable[[], Collection[Path]]) -> Collection[Path]:
    deadline = time.time() + _LONGEST_S
    while not (found := new()):
        if process.poll() is not None:
            said = process.stderr.read().strip() if process.stderr else ""
            raise DarkroomError(f"bench: `darkroom generate` ended and made no image: {said[-200:]}")
        if time.time() > deadline:
            raise DarkroomError(f"bench: `darkroom generate` made no image within {_LONGEST_S:.0f} s")
        time.sleep(_POLL_S)
    return found
