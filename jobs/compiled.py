"""What torch.compile made, kept in this user's cache: workers of later runs begin with it, on whatever node they are.

It goes from a worker to the driver and from the driver to workers, and never through the run's store: it holds pickled
objects, and whoever may write images need not be somebody whose code is run.
"""

import hashlib
from contextlib import suppress

from darkroom.domain.identity import digest
from darkroom.engine.events import Event, Listener, ShardDone
from darkroom.jobs.build import Wanted
from darkroom.rendering.renderer import Compiled
from darkroom.storage.opening import user_cache


class KeptCompiled:
    """Stands between a job and its dispatcher. Does nothing without engine.compile; what is lost is made again."""

    def __init__(self, found: Wanted) -> None:
        self._is_on = found.config.engine.compile
        self._cache = user_cache("compiled")
        models = [(model.identity.revision, model.identity.dtype) for model in found.models]
        self._key = digest("compiled", models, found.config.engine.batch_size)

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
