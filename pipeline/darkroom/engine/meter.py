"""How far a stage is, how fast and at what price: counted from the events of its dispatcher, for a bar, a log, a
program or Prometheus."""

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from darkroom.domain.progress import duration
from darkroom.engine.tasks import (
    STALL_S,
    AttemptFailed,
    AttemptStarted,
    Event,
    ReadingPrompts,
    RenderedByOthers,
    ShardDone,
    Stalled,
    Summary,
    WorkerReady,
    WorkersGone,
    WorkersPending,
)

_RECENT_S = 120.0
LOADING = "loading"  # the stage of a worker before its first shard


@dataclass(frozen=True)
class State:
    """How far a stage is at one moment. Rates are of images, since the first worker was ready."""

    time: str  # ISO 8601, UTC
    stage: str
    num_done: int
    num_images: int
    num_failed: int
    images_per_s: float | None  # of the last two minutes
    mean_images_per_s: float | None
    seconds_left: float | None
    num_under_way: int  # shards that workers hold
    num_ready: int
    num_wanted: int
    device_busy: float | None  # share of the workers' time in the last two minutes, 0 to 1
    seconds_since_commit: float | None
    num_store_retries: int
    num_elsewhere: int  # images that other commands rendered meanwhile, which are not counted above
    worker_s: float  # of all workers, from the begin of their loading
    cost: float | None  # of these seconds; None where no price was given
    stalled: str  # empty where nothing is
    num_rejected: int = 0  # images that were made besides, and not kept by the run's policy

    def __str__(self) -> str:
        """One line of a log."""
        share = f" ({100 * self.num_done / self.num_images:.0f} %)" if self.num_images else ""
        recent = self.images_per_s if self.images_per_s is not None else self.mean_images_per_s
        parts = [
            f"{self.num_done} of {self.num_images} images{share}",
            "" if recent is None else f"{recent:.1f} images/s",
            "" if self.mean_images_per_s is None else f"{self.mean_images_per_s:.1f} on average",
            "" if self.seconds_left is None else f"{duration(self.seconds_left)} left",
            f"{self.num_ready} of {self.num_wanted} workers ready" if self.num_ready < self.num_wanted else "",
            "" if self.device_busy is None else f"devices {100 * self.device_busy:.0f} % busy",
            "" if self.seconds_since_commit is None else f"last commit {duration(self.seconds_since_commit)} ago",
            f"{self.num_failed} failed" if self.num_failed else "",
            f"{self.num_rejected} more made and rejected" if self.num_rejected else "",
            f"{self.num_store_retries} store calls made again" if self.num_store_retries else "",
            f"{self.num_elsewhere} more by other commands" if self.num_elsewhere else "",
            "" if self.cost is None else f"cost {self.cost:.3g}",
            self.stalled,
        ]
        return f"{self.time}  {', '.join(filter(None, parts))}"


class Meter:
    """Counts the images of a stage, from the events of its dispatcher. Safe for threads."""

    def __init__(self, num_images: int, stage: str, price_per_hour: float | None = None) -> None:
        """`price_per_hour`: a worker's."""
        self.stage = stage
        self.summary = Summary()
        self._num_planned = num_images  # of shards that are left, an estimate
        self._num_done = self._num_elsewhere = 0
        self.stage_s: dict[str, float] = {}  # of a shard -> seconds of all workers' threads at it
        self.stage_shards: Counter[str] = Counter()  # of a shard -> how many shards, or loads, these are of
        self._price_per_hour = price_per_hour
        self._num_started = self._num_ended = 0  # attempts
        self._num_ready, self._num_wanted = 0, 0
        self._worker_s, self._counted_at, self._is_over = 0.0, time.monotonic(), False
        self._ready_at: float | None = None  # the first worker
        self._commits: deque[tuple[float, int, float]] = deque()  # of late: (when, images, device's seconds)
        self._committed_at: float | None = None
        self._reading_since: float | None = None
        self._stalls: dict[str, tuple[float, Stalled]] = {}  # worker -> (when it was said, what)
        self.lock = threading.RLock()  # held by who reads several counts as of one moment

    def add(self, event: Event) -> None:
        with self.lock:
            self.summary.add(event)
            now = time.monotonic()
            self._count_workers(now)
            match event:
                case WorkerReady(load_s=load_s):
                    self._num_ready += 1
                    self._num_wanted = max(self._num_wanted, self._num_ready)
                    self._ready_at = self._ready_at or now
                    self._worker_s += load_s
                    self._add_stages({LOADING: load_s})
                case WorkersPending(num_ready, num_wanted):
                    self._num_ready, self._num_wanted = num_ready, num_wanted
                case RenderedByOthers(num_images):
                    self._num_elsewhere = num_images
                case WorkersGone():
                    self._is_over = True
                case ReadingPrompts(is_begun):
                    self._reading_since = now if is_begun else None
                case Stalled(worker):
                    self._stalls[worker] = now, event
                case AttemptStarted():
                    self._num_started += 1
                case AttemptFailed():
                    self._num_ended += 1
                case ShardDone(report=report):
                    self._num_ended += 1
                    self._stalls.clear()
                    self._committed_at = now
                    count = report.num_ok + report.num_failed - report.num_invalid
                    self._num_done += count
                    self._commits.append((now, count, report.render_s))
                    self._add_stages(report.stage_s)

    def state(self) -> State:
        with self.lock:
            now = time.monotonic()
            self._count_workers(now)
            while self._commits and self._commits[0][0] < now - _RECENT_S:
                self._commits.popleft()
            recent, busy = self._recent(now)
            mean = self._mean(now)
            rate = recent or mean
            num_images = max(self._num_planned - self._num_elsewhere, self._num_done)
            price = self._price_per_hour
            return State(
                time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
                stage=self.stage,
                num_done=self._num_done,
                num_images=num_images,
                num_failed=self.summary.num_failed,
                images_per_s=recent,
                mean_images_per_s=mean,
                seconds_left=(num_images - self._num_done) / rate if rate else None,
                num_under_way=max(0, self._num_started - self._num_ended),
                num_ready=self._num_ready,
                num_wanted=self._num_wanted,
                device_busy=busy,
                seconds_since_commit=None if self._committed_at is None else now - self._committed_at,
                num_store_retries=self.summary.num_retries,
                num_elsewhere=self._num_elsewhere,
                worker_s=self._worker_s,
                cost=None if price is None else cost_of(self._worker_s, price),
                stalled=self._stalled(now),
                num_rejected=self.summary.rejected.total(),
            )

    def _count_workers(self, now: float) -> None:
        """Those that were ready since they were counted last."""
        self._worker_s += 0.0 if self._is_over else self._num_ready * (now - self._counted_at)
        self._counted_at = now

    def _add_stages(self, seconds: Mapping[str, float]) -> None:
        for stage, number in seconds.items():
            self.stage_s[stage] = self.stage_s.get(stage, 0.0) + number
            self.stage_shards[stage] += 1

    def _recent(self, now: float) -> tuple[float | None, float | None]:
        """(images/s, share of the workers' time that devices were busy) of late."""
        if self._ready_at is None or not self._commits:
            return None, None
        seconds = min(_RECENT_S, now - self._ready_at) or 1e-9
        images, device_s = (sum(each[index] for each in self._commits) for index in (1, 2))
        return images / seconds, min(1.0, device_s / seconds / max(1, self._num_ready))

    def _mean(self, now: float) -> float | None:
        if self._ready_at is None or not self._num_done:
            return None
        return self._num_done / max(now - self._ready_at, 1e-9)

    def _stalled(self, now: float) -> str:
        if self._reading_since is not None and now - self._reading_since > STALL_S:
            waited = duration(now - self._reading_since)
            return f"stalled: prompts are being read, or the store lists what is left, for {waited}"
        idle_s = now - (self._committed_at or self._ready_at or now)
        if idle_s < STALL_S or not self._stalls:
            return ""
        said_at, worst = max(self._stalls.values(), key=lambda each: each[1].seconds)
        return f"stalled: {worst.worker} is {worst.stage} for {duration(worst.seconds + now - said_at)}"


def cost_of(worker_s: float, price_per_hour: float) -> float:
    """In the price's currency."""
    return worker_s / 3600 * price_per_hour
