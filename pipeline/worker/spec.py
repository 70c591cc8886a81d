"""Everything a worker is made from: small, picklable, and without a secret."""

from dataclasses import dataclass
from functools import partial

from pipeline.rendering.loading import load_renderer
from pipeline.rendering.spec import RendererSpec
from pipeline.runs.run import RunInfo
from pipeline.storage.opening import open_store
from pipeline.storage.store import StoreSpec
from pipeline.worker.worker import Worker


@dataclass(frozen=True)
class WorkerSpec:
    """Calling it makes the worker, in the process that will use it."""

    run: RunInfo
    renderer: RendererSpec
    store: StoreSpec

    def __call__(self) -> Worker:
        return Worker(self.run, partial(load_renderer, self.renderer), open_store(self.store))
