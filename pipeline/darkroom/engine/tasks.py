"""What a worker is asked for, and what it answers. Plain data that travels to any process."""

from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from darkroom.domain.identity import Cell, Shard
from darkroom.domain.requests import PromptRow
from darkroom.domain.settings import Sampling
from darkroom.domain.spans import Span
from darkroom.rendering.renderer import Compiled, RendererSpec


@dataclass(frozen=True)
class ShardTask:
    """Render and commit a shard. It is complete in itself: a worker needs no prompt file."""

    shard: Shard
    cell: Cell
    rows: tuple[PromptRow, ...]
    extras: pa.Table  # the rows' other columns, in the same order


@dataclass(frozen=True)
class RetryTask:
    """Render the failed records of a committed shard again."""

    shard: Shard
    cell: Cell


@dataclass(frozen=True)
class FeatureTask:
    """Make the features of a committed shard's images."""

    shard: Shard


@dataclass(frozen=True)
class ProbeTask:
    """Find the batch size at which this model is fastest."""

    renderer: RendererSpec
    sampling: Sampling


Task = ShardTask | RetryTask | FeatureTask | ProbeTask


def task_name(task: Task) -> str:
    """The shard, for people."""
    if isinstance(task, ProbeTask):
        return f"probe of {task.renderer.model.identity.repo_id}"
    shard = task.shard
    return f"shard {shard.shard_id[:12]} (cell {shard.cell_id}, rows {shard.start} to {shard.stop - 1})"


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
    is_first: bool = True  # False: another attempt had committed the shard already, and its records stand
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
