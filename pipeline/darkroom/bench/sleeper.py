"""Workers whose device is a pause: what is left is the dispatcher's and the commit's own work. Needs no torch."""

from dataclasses import dataclass

from darkroom.domain.cells import ModelIdentity
from darkroom.engine.tasks import ShardReport, Task
from darkroom.engine.worker import Worker
from darkroom.rendering.paint import PaintRenderer
from darkroom.runs.run import RunInfo
from darkroom.storage.opening import open_store
from darkroom.storage.store import StoreSpec


@dataclass(frozen=True)
class SleeperSpec:
    """Calling it makes a real worker that paints after a pause."""

    run: RunInfo
    model: ModelIdentity
    store: StoreSpec
    seconds: float  # of a batch

    def __call__(self) -> Worker:
        return Worker(self.run, self._load, self.model, open_store(self.store))

    def _load(self, _: ModelIdentity) -> PaintRenderer:
        return PaintRenderer(1, self.seconds)


class Idler:
    """Answers at once and does nothing: the dispatcher's ceiling."""

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        return ShardReport(1, 0, 0, 0.0, 0.0)

    def close(self) -> None:
        pass
