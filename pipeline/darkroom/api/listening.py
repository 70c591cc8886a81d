"""What stands between a job and its dispatcher: counts, the profile, and what torch.compile made."""

import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress

from darkroom.api.events import Profiled, Progress, Progressed
from darkroom.domain.identity import digest
from darkroom.domain.spans import Profile
from darkroom.engine.profile import ProfileTotals
from darkroom.engine.tasks import Event, Listener, ShardDone, Summary, Task, WorkerReady
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.renderer import Compiled
from darkroom.runs.files import PROFILE_PREFIX
from darkroom.storage.local import user_cache
from darkroom.storage.store import Store


class Counting:
    """Adds up what a dispatcher says, and hands it on with how far the stage is."""

    def __init__(self, progress: Progress, stage: str, num_images: int) -> None:
        self.summary = Summary()
        self._progress = progress
        self._stage = stage
        self._num_images = num_images
        self._num_done = 0
        self._started = time.monotonic()
        self._is_ready = False

    def __call__(self, event: Event) -> None:
        self.summary.add(event)
        if isinstance(event, WorkerReady) and not self._is_ready:
            self._is_ready, self._started = True, time.monotonic()
        self._progress(event)
        if isinstance(event, ShardDone):
            report = event.report
            self._num_done += report.num_ok + report.num_failed - report.num_invalid
            self._num_images = max(self._num_images, self._num_done)  # of the shards that are left, an estimate
            self._progress(Progressed(self._stage, self._num_done, self._num_images, self.summary.num_failed))

    @property
    def elapsed_s(self) -> float:
        """Since the first worker was ready: images a second are the workers' own, loading apart."""
        return time.monotonic() - self._started


class RenderProfile:
    """`profile`: adds up what the workers and this process measured, and keeps it beside the run. Nothing when off."""

    def __init__(self, is_on: bool) -> None:
        self._own = Profile(is_on)
        self._account = ProfileTotals()

    def tasks(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The same tasks, their reading measured."""
        while True:
            with self._own.span("read"):
                task = next(tasks, None)
            if task is None:
                return
            yield task

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone):
                self._account.add(event.worker, event.report.spans)
            listen(event)

        return hear

    def keep(self, store: Store, progress: Progress) -> None:
        """Write the table and the trace; those of an earlier start are replaced."""
        if not self._own.is_on:
            return
        self._account.add("driver", self._own.taken())
        table = self._account.table()
        store.put(f"{PROFILE_PREFIX}stages.txt", table.encode(), "text/plain")
        store.put(f"{PROFILE_PREFIX}trace.json", self._account.trace(), "application/json")
        progress(Profiled(table, store.describe(f"{PROFILE_PREFIX}trace.json")))


class CompiledCache:
    """What torch.compile made, kept in this user's cache: workers of later runs begin with it, on whatever node.

    It goes from a worker to the driver and from the driver to workers, and never through the run's store: it holds
    pickled objects, and whoever may write images need not be somebody whose code is run. Does nothing when off; what is
    lost is made again.
    """

    def __init__(self, is_on: bool, models: list[InspectedModel], batch_size: int) -> None:
        self._is_on = is_on
        self._cache = user_cache("compiled")
        named = [(model.identity.revision, model.identity.dtype) for model in models]
        self._key = digest("compiled", named, batch_size)

    def get(self) -> tuple[Compiled, ...]:
        """What earlier runs of the same models made, on any kind of machine."""
        found: list[Compiled] = []
        with suppress(OSError):
            for info in self._cache.list(f"{self._key}/") if self._is_on else ():
                found.append(Compiled(info.key.split("/")[1], self._cache.get(info.key)))
        return tuple(found)

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone) and event.report.compiled:
                self._keep(event.report.compiled)
            listen(event)

        return hear

    def _keep(self, compiled: Compiled) -> None:
        with suppress(OSError):
            name = hashlib.sha256(compiled.data).hexdigest()[:16]
            self._cache.put(f"{self._key}/{compiled.machine}/{name}", compiled.data)
