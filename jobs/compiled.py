"""What torch.compile made, kept in this user's cache: workers of later runs begin with it, on whatever node they are.

It goes from a worker to the driver and from the driver to workers, and never through the run's store: it holds pickled
objects, and whoever may write images need not be somebody whose code is run.
"""

from contextlib import suppress
from importlib.metadata import version

from jobs.build import Wanted
from pipeline.dispatch.events import Event, Listener, ShardDone
from pipeline.domain.identity import digest
from pipeline.storage.cache import user_cache
from pipeline.storage.store import NotFound


class KeptCompiled:
    """Stands between a job and its dispatcher. Does nothing without engine.compile."""

    def __init__(self, found: Wanted, device: str) -> None:
        self._is_on = found.config.engine.compile
        self._cache = user_cache("compiled")
        self._key = _key(found, device)

    def get(self) -> bytes | None:
        """What an earlier run of the same models, sizes and software made."""
        if not self._is_on:
            return None
        try:
            return self._cache.get(self._key)
        except (NotFound, OSError):
            return None

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone) and event.report.compiled:
                with suppress(OSError):  # the next run compiles again
                    self._cache.put(self._key, event.report.compiled)
            listen(event)

        return hear


def _key(found: Wanted, device: str) -> str:
    samplings = [item.cell.sampling for item in found.cells]
    shapes = sorted({(each.height, each.width, each.is_guided, each.cache_interval > 1) for each in samplings})
    models = [(model.identity.revision, model.identity.dtype, model.identity.pipeline_class) for model in found.models]
    software = [version(name) for name in ("torch", "diffusers", "transformers")]
    return digest("compiled", models, shapes, found.config.engine.batch_size, device, software)
