"""What a worker can be asked for besides a fresh shard, and what it answers. Plain data that travels to any process."""

from dataclasses import dataclass, field
from typing import Protocol

from darkroom.domain.cells import Cell
from darkroom.domain.settings import Sampling
from darkroom.planning.tasks import ShardTask
from darkroom.profiling.spans import Span
from darkroom.rendering.spec import Compiled, RendererSpec
from darkroom.runs.keys import ManifestName


@dataclass(frozen=True)
class RetryTask:
    """Render the failed records of a committed shard again."""

    name: ManifestName
    cell: Cell


@dataclass(frozen=True)
class ScoreTask:
    """Make the features of a committed shard's images."""

    name: ManifestName


@dataclass(frozen=True)
class ProbeTask:
    """Find the batch size at which this model is fastest."""

    renderer: RendererSpec
    sampling: Sampling


Task = ShardTask | RetryTask | ScoreTask | ProbeTask


def task_name(task: Task) -> str:
    """The shard, for people."""
    if isinstance(task, ProbeTask):
        return f"probe of {task.renderer.model.identity.repo_id}"
    place = task.shard if isinstance(task, ShardTask) else task.name
    return f"shard {place.shard_id[:12]} (cell {place.cell_id}, rows {place.start} to {place.stop - 1})"


@dataclass(frozen=True)
class ShardReport:
    """What became of one attempt that ended in a committed shard."""

    num_ok: int
    num_failed: int  # records whose status is not ok
    num_bytes: int
    render_s: float  # the device's time
    wall_s: float
    num_retries: int = 0  # store calls made again
    num_loads: int = 0  # models loaded for it, the worker's first one apart
    ours: bool = True  # False: another attempt had committed the shard first
    num_invalid: int = 0  # of those that failed: rows of which no image was wanted
    errors: tuple[str, ...] = field(default=())  # reasons of the first few failed records
    resized: tuple[str, ...] = field(default=())  # sizes that the model changed, such as "1920x1080 to 1920x1072"
    batch_size: int | None = None  # that a probe found
    compiled: Compiled | None = None  # what torch.compile made, for workers to come
    spans: tuple[Span, ...] = field(default=())  # of the worker since its last report, where it is profiled


class TaskRunner(Protocol):
    """What a dispatcher gives tasks to, from as many threads as it likes."""

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """Do the task and make its result visible; an exception leaves nothing visible."""
        ...

    def close(self) -> None:
        """Make every call that is under way end soon."""
        ...
