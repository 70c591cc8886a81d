"""What a dispatcher says while it works, and the totals of it. Plain data for whoever shows it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from darkroom.domain.errors import redacted
from darkroom.engine.tasks import ShardReport, Task


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
    """No worker is ready yet: still loading, or the cluster has no room."""

    num_workers: int


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


Event = WorkerReady | WorkerLost | WorkersPending | ShardDone | AttemptFailed
Listener = Callable[[Event], None]


@dataclass
class Summary:
    """Totals of one start of a job."""

    num_ok: int = 0
    num_failed: int = 0  # records whose status is not ok
    num_bytes: int = 0
    num_shards: int = 0
    num_adopted: int = 0  # of these, shards that were there when an attempt came to commit: a reply was lost
    num_retries: int = 0  # store calls made again
    num_loads: int = 0  # models loaded, by all workers together
    workers_lost: int = 0
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
                self.num_bytes += report.num_bytes
                self.num_shards += 1
                self.num_adopted += not report.is_first
                self.num_retries += report.num_retries
                self.num_loads += report.num_loads
                self.errors.extend(report.errors[: 10 - len(self.errors)])
                self.resized.update(report.resized)
            case AttemptFailed(task=task, reason=reason, final=True):
                self.failed_shards.append((task, reason))
            case WorkerLost():
                self.workers_lost += 1


class Dispatcher(Protocol):
    """Runs every task on workers and says what became of each."""

    def run(self, tasks: Iterator[Task], listen: Listener) -> None: ...
