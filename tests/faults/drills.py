"""Drills: whole runs as processes of their own, with one kind of fault each, and an account of what came of it.

Each renders a small dataset with the paint renderer, disturbs it, gives the same command again where it ended early,
and counts. `python -m tests.faults` runs them many times.
"""

import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from darkroom.jobs.console import ExitCode
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.faults.account import Tally, Whole, account
from tests.faults.doomed import Doom, DoomWhileCopying
from tests.processes import Job, ended, wait_for
from tests.servers import Fault, FaultyProxy

NUM_PROMPTS, NUM_IMAGES = 24, 4
PAINT = ("model=paint", "sampling.height=16", "sampling.width=16", f"sampling.num_images_per_prompt={NUM_IMAGES}")
STORM = (
    *(Fault(500), Fault(502, code=""), Fault(503, code="SlowDown"), Fault(429, code="TooManyRequests")),
    *(Fault(reset=True), Fault(lost_reply=True), Fault(truncated=True), Fault(delay_s=0.3)),
)
GONE = {
    "a bucket that vanishes": Fault(404, code="NoSuchBucket"),
    "expired credentials": Fault(400, code="ExpiredToken"),
}
DRIVER_PHASES = [
    *(("before", "run.json", 1), ("after", "run.json", 1), ("before", "cells/", 1), ("after", "cells/", 1)),
    *(("before", "images/", 1), ("after", "images/", 2), ("before", "metadata/", 1), ("after", "metadata/", 1)),
    *(("after", "metadata/", 2), ("before", "contact_sheet", 1), ("after", "contact_sheet", 1)),
]


@dataclass(frozen=True)
class Place:
    """Where a drill's run lies, and the command that makes it."""

    store: Store  # by the straight way
    arguments: tuple[str, ...]
    job: str = "generate"

    def start(self, doom: Callable[[], None] | None = None, more: Sequence[str] = ()) -> Job:
        return Job(self.job, (*self.arguments, *more), doom)

    def finish(self) -> str:
        """The same command, to its end; what it said."""
        return ended(self.start(), 0)


def place(
    folder: Path,
    endpoint_url: str | None = None,
    uri: str | None = None,
    *more: str,
    job: str = "generate",
    model: Sequence[str] = PAINT,
) -> Place:
    """A run in a folder, or in S3 by way of an endpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"prompt {number}\n" for number in range(NUM_PROMPTS)))
    uri = uri or str(folder / "run")
    endpoint = [f"output.endpoint_url={endpoint_url}"] if endpoint_url else []
    given = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={uri}", "engine.shard_size=4", *endpoint, *more)
    engine = () if any(word.startswith("engine=") for word in more) else ("engine=local",)
    return Place(open_store(parse_spec(uri, endpoint_url)), (*model, *engine, *given), job)


@contextmanager
def s3_place(folder: Path, endpoint_url: str) -> Iterator[tuple[Place, FaultyProxy]]:
    """The job goes through the proxy, and the count does not."""
    with FaultyProxy(endpoint_url) as proxy:
        uri = f"s3://bucket/{uuid.uuid4().hex}"
        yield replace(place(folder, proxy.url, uri), store=open_store(parse_spec(uri, endpoint_url))), proxy


@contextmanager
def small_disk(disk: Path) -> Iterator[Path]:
    """A disk too small for the dataset. Raises CalledProcessError without root's rights."""
    disk.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "tmpfs", disk], check=True, capture_output=True)
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def driver_killed(expected: Whole, here: Place, phases: Sequence[tuple] = DRIVER_PHASES) -> Tally:
    """SIGKILL in one phase after the other, each start going a little further."""
    killed = 0
    for phase in phases:
        job = here.start(Doom("kill", *phase))
        job.end()
        killed += job.returncode == -signal.SIGKILL
    return account(here.store, expected, killed, here.finish())


def copying_killed(expected: Whole, here: Place) -> Tally:
    """SIGKILL while manifests are copied: by the driver, by `compact`, and by `gc` between its mark and the removal."""
    where = [f"run={here.store.spec.uri}"]
    deaths = [(here.job, here.arguments, when, nth) for when in ("before", "after") for nth in (1, 2)]
    deaths += [("compact", where, "before", 1), ("compact", where, "after", 1)]
    killed, said = 0, ""
    for job, words, when, nth in deaths:
        killed += _killed(Job(job, words, DoomWhileCopying("kill", when, "compacted/", nth)))
    said += here.finish() + ended(Job("compact", where), 0)
    removing = [*where, "manifests=true", "older_than_s=0"]
    killed += _killed(Job("gc", removing, DoomWhileCopying("kill", "after", "compacted/", 1)))
    assert account(here.store, expected, killed).is_clean
    said += ended(Job("gc", removing), 0)
    assert not any(True for _ in here.store.list("metadata/"))
    return account(here.store, expected, killed, said + here.finish())


def _killed(job: Job) -> bool:
    job.end()
    return job.returncode == -signal.SIGKILL


def other_pixels_left(expected: Whole, here: Place) -> Tally:
    """A start that makes other pictures is killed before it commits any: each is replaced, and none stays behind."""
    job = here.start(Doom("kill", "before", "metadata/", 1, other_pixels=True))
    job.end()
    left = num_images(here)
    tally = account(here.store, expected, left, here.finish())
    assert num_images(here) == len({record.key for record in records(here.store)}), "images that no shard names"
    return tally


def images_spoiled(expected: Whole, here: Place) -> Tally:
    """Stored before the kill and spoiled before the same command again: cut, emptied, or another file's bytes."""
    job = here.start(Doom("kill", "before", "metadata/", 1))
    job.end()
    keys = [info.key for info in here.store.list("images/")]
    for number, key in enumerate(keys):
        here.store.put(key, (here.store.get(key)[:100], b"", b"another file's bytes")[number % 3])
    tally = account(here.store, expected, len(keys), here.finish())
    assert num_images(here) == len({record.key for record in records(here.store)}), "images that no shard names"
    return tally


def num_images(here: Place) -> int:
    return sum(1 for _ in here.store.list("images/"))


def two_drivers(expected: Whole, here: Place) -> Tally:
    jobs = [here.start() for _ in range(2)]
    return account(here.store, expected, 1, "".join(ended(job, 0) for job in jobs))


def zombie(expected: Whole, here: Place, when: str, prefix: str, nth: int) -> Tally:
    """A driver that stops, is replaced, wakes up and writes on: other pictures, so that each late write would show."""
    stalled = here.start(Doom("stall", when, prefix, nth))
    wait_for(lambda: is_stopped(stalled.pid))
    said = here.finish()
    before = {info.key: here.store.get(info.key) for info in here.store.list("metadata/")}
    stalled.send_signal(signal.SIGCONT)
    stalled.end()
    changed = sum(here.store.get(key) != data for key, data in before.items())
    tally = account(here.store, expected, 1, said, other_pixels=True)
    assert not changed, f"{changed} manifests changed"
    return tally


def s3_storm(expected: Whole, here: Place, proxy: FaultyProxy, rate: float, seed: int = 0) -> Tally:
    proxy.storm(STORM, rate, seed)
    said = here.finish()
    return account(here.store, expected, proxy.num_spoiled, said)


def s3_throttled(expected: Whole, here: Place, proxy: FaultyProxy, seconds: float) -> Tally:
    job = here.start()
    wait_for(lambda: num_puts(proxy) > 40)
    proxy.storm([Fault(503, code="SlowDown")], 1.0)
    time.sleep(seconds)
    proxy.storm((), 0.0)
    return account(here.store, expected, proxy.num_spoiled, ended(job, 0))


def s3_gone(expected: Whole, here: Place, proxy: FaultyProxy, fault: str) -> Tally:
    """From some moment on every answer is a refusal; the job ends; mended, the same command goes on."""
    job = here.start()
    wait_for(lambda: num_puts(proxy) > 40)
    proxy.storm([GONE[fault]], 1.0)
    said = ended(job, ExitCode.UNFINISHED)
    proxy.storm((), 0.0)
    return account(here.store, expected, proxy.num_spoiled, said + here.finish())


def disk_full(expected: Whole, here: Place, disk: Path) -> Tally:
    said = ended(here.start(), ExitCode.UNFINISHED)
    subprocess.run(["mount", "-o", "remount,size=64m", disk], check=True)
    return account(here.store, expected, 1, said + here.finish())


def bits_flipped(expected: Whole, here: Place) -> Tally:
    """One bit in every fifth stored object; each is found, named and mended, and no other is touched."""
    here.finish()
    keys = [info.key for info in here.store.list("images/")][::5]
    for key in keys:
        data = bytearray(here.store.get(key))
        data[len(data) // 2] ^= 1
        here.store.put(key, bytes(data))
    where = f"run={here.store.spec.uri}"
    named = ended(Job("verify", [where, "stored=true"]), ExitCode.CHECK_FAILED)
    assert all(key in named for key in keys), named
    said = ended(Job("repair", [where]), 0) + ended(Job("verify", [where, "stored=true"]), 0)
    return account(here.store, expected, len(keys), said)


def is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def num_puts(proxy: FaultyProxy) -> int:
    return sum(method == "PUT" for method, _ in proxy.requests)
