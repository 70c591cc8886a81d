"""What a worker is asked for and answers, what a dispatcher says meanwhile, and the totals of it.

Plain data that travels to any process.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from darkroom.domain.errors import redacted
from darkroom.domain.identity import Cell, Shard
from darkroom.domain.progress import Span
from darkroom.domain.records import PromptRow
from darkroom.domain.settings import Sampling
from darkroom.rendering.renderer import Compiled, RendererSpec
from darkroom.storage.store import Store

STALL_S = 45.0  # at one stage, from which on it is said
SAY_STALL_EVERY_S = 30.0


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


@dataclass(frozen=True, eq=False)
class ExportTask:
    """Write a numbered shard of a dataset."""

    name: str
    rows: Any  # `exporting.dataset.ShardRows`
    is_there: bool  # it is only held against what would be written


@dataclass(frozen=True, eq=False)
class ReadTask:
    """Read some shards of the run."""

    name: str
    num_images: int  # about
    read: Callable[[Store], Any]  # a function of the run's store; it pickles, as does its value
    number: int = 0  # in their order


Task = ShardTask | RetryTask | FeatureTask | ProbeTask | ExportTask | ReadTask


def task_name(task: Task) -> str:
    """The shard, for people."""
    if isinstance(task, ExportTask | ReadTask):
        return task.name
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
    num_filtered: int = 0  # of those that failed: refused by a policy
    num_unmarked: int = 0  # images in whose file the run's watermark is not found
    rejected: Mapping[str, int] = field(default_factory=dict)  # why images were not kept by the run's policy -> so many
    cost: float = 0.0  # of its images, where their renderer has a price
    errors: tuple[str, ...] = field(default=())  # reasons of the first few failed records
    resized: tuple[str, ...] = field(default=())  # sizes that the model changed, such as "1920x1080 to 1920x1072"
    batch_size: int | None = None  # that a probe found
    compiled: Compiled | None = None  # what torch.compile made, for workers to come
    spans: tuple[Span, ...] = field(default=())  # of the worker since its last report, where it is profiled
    stage_s: Mapping[str, float] = field(default_factory=dict)  # stage -> seconds of the shard's thread at it
    files: Sequence[Any] = ()  # of a shard that was exported: `exporting.shards.ExportedFile`
    found: bytes = b""  # what a ReadTask read, pickled

    @property
    def num_made(self) -> int:
        """Images, those that were not kept too."""
        return self.num_ok + sum(self.rejected.values())


class TaskRunner(Protocol):
    """What a dispatcher gives tasks to, from as many threads as it likes."""

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """Do the task and make its result visible; an exception leaves nothing visible."""
        ...

    def close(self) -> None:
        """Make every call that is under way end soon."""
        ...


# What a dispatcher says ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class WorkerReady:
    worker: str
    load_s: float


@dataclass(frozen=True)
class WorkerLost:
    worker: str
    reason: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", redacted(self.reason))


@dataclass(frozen=True)
class WorkersPending:
    """How many workers are ready, when that changed; and, now and then while some are missing, why."""

    num_ready: int
    num_wanted: int
    why: str = ""  # such as "2 wait for room in the cluster, 1 loads"


@dataclass(frozen=True)
class WorkersGone:
    """Every task has ended, and so have the workers."""


@dataclass(frozen=True)
class Stalled:
    """A worker has been at one stage for long."""

    worker: str
    stage: str  # such as "storing images"
    seconds: float


def stalled(worker: str, longest: tuple[str, float] | None) -> Stalled | None:
    """What is said of a worker that has been at a stage for so many seconds."""
    return Stalled(worker, *longest) if longest and longest[1] >= STALL_S else None


@dataclass(frozen=True)
class ReadingPrompts:
    """The next shard's prompts are about to be read, or were."""

    is_begun: bool


@dataclass(frozen=True)
class RenderedByOthers:
    """Of the images that were left when this stage began, so many other commands have rendered by now."""

    num_images: int


@dataclass(frozen=True)
class AttemptStarted:
    """A worker was given a shard."""

    task: Task
    worker: str


@dataclass(frozen=True)
class ShardDone:
    task: Task
    report: ShardReport
    worker: str


@dataclass(frozen=True)
class AttemptFailed:
    """One try at a shard ended without a commit."""

    task: Task
    attempt: int
    reason: str
    final: bool  # no attempt is left: the shard stays undone

    def __post_init__(self) -> None:
        object.__setattr__(self, "reason", redacted(self.reason))


Event = (
    WorkerReady
    | WorkerLost
    | WorkersPending
    | WorkersGone
    | Stalled
    | ReadingPrompts
    | RenderedByOthers
    | AttemptStarted
    | ShardDone
    | AttemptFailed
)
Listener = Callable[[Event], None]


@dataclass
class Summary:
    """Totals of one start of a job."""

    num_ok: int = 0
    num_failed: int = 0  # records whose status is not ok
    num_invalid: int = 0  # of these, rows of which no image was wanted
    num_filtered: int = 0  # of these, refused by a policy
    num_unmarked: int = 0  # images in whose file the run's watermark is not found
    rejected: Counter[str] = field(default_factory=Counter)  # why images were not kept by the run's policy
    cost: float = 0.0  # of images, where their renderer has a price
    num_bytes: int = 0
    num_shards: int = 0
    num_adopted: int = 0  # of these, those that another attempt had committed first, see `ShardReport.is_first`
    num_retries: int = 0  # store calls made again
    num_loads: int = 0  # models loaded, by all workers together
    workers_lost: int = 0
    num_attempts_failed: int = 0  # tries at shards that ended without a commit
    failed_shards: list[tuple[Task, str]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)  # reasons of the first failed records
    resized: set[str] = field(default_factory=set)  # sizes that a model changed

    def add(self, event: Event) -> None:
        match event:
            case WorkerReady():
                self.num_loads += 1
            case ShardDone(report=report):
                self.num_ok += report.num_ok
                self.num_failed += report.num_failed
                self.num_invalid += report.num_invalid
                self.num_filtered += report.num_filtered
                self.rejected.update(report.rejected)
                self.num_unmarked += report.num_unmarked
                self.cost += report.cost
                self.num_bytes += report.num_bytes
                self.num_shards += 1
                self.num_adopted += not report.is_first
                self.num_retries += report.num_retries
                self.num_loads += report.num_loads
                self.errors.extend(report.errors[: 10 - len(self.errors)])
                self.resized.update(report.resized)
            case AttemptFailed(task=task, reason=reason, final=final):
                self.num_attempts_failed += 1
                self.failed_shards.extend([(task, reason)] if final else [])
            case WorkerLost():
                self.workers_lost += 1
