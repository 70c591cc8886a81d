"""Commands that work on a run: each keeps small files there, which say that it lives, and what its workers cost.

A driver renders the run. Time is the store's: a driver lives whose file is not much older than one's own. Nothing here
may fail a run; at worst shards are rendered twice, of which the first commit counts. What was spent is renewed while
a command works: one that was killed has counted all but its last half minute, and one without a price counts nothing.
"""

import json
import math
import os
import platform
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard, digest
from darkroom.domain.records import OK
from darkroom.runs.files import DRIVERS_PREFIX, SPENDING_PREFIX, to_json
from darkroom.runs.listing import ShardSet
from darkroom.storage.store import NotFound, ObjectInfo, Store, prefetched

BEAT_EVERY_S = 30.0
LOOK_EVERY_S = 5.0
_LONGEST_END_S, _LONGEST_STOP_S = 10.0, 2.0  # to remove files: at the end, and where the run is stopped
_SILENT = timedelta(seconds=5 * BEAT_EVERY_S)
_NONE = ShardSet(1)


class Driver:
    """This command's file, renewed until the context ends; `group`: drivers of one group share work.

    What is asked of the store is asked by a thread of its own, so that nothing waits for a store that hangs.
    """

    def __init__(self, store: Store, group: str, committed: Callable[[], ShardSet] = lambda: _NONE) -> None:
        """`committed`: the shards that are there now; asked for once another driver was seen."""
        self._store = store
        self._prefix = f"{DRIVERS_PREFIX}{group}-"
        self._key = f"{self._prefix}{uuid.uuid4().hex}.json"
        self._committed = committed
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="driver", daemon=True)
        self._others: tuple[str, ...] = ()
        self._is_shared = False  # whether another driver was ever seen
        self.done = _NONE  # shards that were there when it was last asked for; another set each time

    def __enter__(self) -> "Driver":
        self._beat()
        self._look()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file, and those of drivers that ended without a chance to, as far as that takes seconds."""
        self._ended.set()
        self._thread.join(_LONGEST_END_S if kind is None else _LONGEST_STOP_S)

    def owns(self, shard: Shard) -> bool:
        """Whether the shard is left, and of this driver's share: each has one driver among those that live."""
        return shard not in self.done and self._ranked(shard)[0] == self._key

    def helps(self, shard: Shard) -> bool:
        """Whether this driver is the first of those that live to help with the shard, next to the one whose it is."""
        return self._key in self._ranked(shard)[:2]

    def _ranked(self, shard: Shard) -> list[str]:
        """By their digests, so that a driver that comes or goes moves no shards between the others."""
        return sorted((self._key, *self._others), key=lambda key: digest("driver", key, shard.shard_id), reverse=True)

    def _keep_up(self) -> None:
        since_beat_s = 0.0
        while not self._ended.wait(LOOK_EVERY_S):
            since_beat_s += LOOK_EVERY_S
            if since_beat_s >= BEAT_EVERY_S:
                since_beat_s = 0.0
                self._beat()
                self.done = self._committed_now()
            self._look()
        with suppress(OSError):
            living = {info.key for info in self._living()}
            dead = [info.key for info in self._store.list(self._prefix) if info.key not in living]
            self._store.delete([self._key, *dead])

    def _look(self) -> None:
        """For other drivers, and for what they have committed."""
        with suppress(OSError):
            self._others = tuple(info.key for info in self._living() if info.key != self._key)
            if self._others and not self._is_shared:
                self._is_shared = True
                self.done = self._committed_now()

    def _committed_now(self) -> ShardSet:
        """As it was, where the store does not say, or has what it should not, which the job itself is told."""
        with suppress(OSError, DarkroomError):
            return self._committed() if self._is_shared else _NONE
        return self.done

    def _living(self) -> Iterator[ObjectInfo]:
        found = list(self._store.list(self._prefix))
        own = next((info.modified for info in found if info.key == self._key), None)
        for info in found:
            if own is not None and info.modified >= own - _SILENT and not self._is_dead_here(info.key):
                yield info

    def _is_dead_here(self, key: str) -> bool:
        """Whether it is of a process of this machine that has ended."""
        if key == self._key:
            return False
        try:
            about = json.loads(self._store.get(key))
            return bool(about["host"] == platform.node() and not _is_running(int(about["pid"])))
        except NotFound:
            return True
        except (ValueError, KeyError, TypeError):
            return False

    def _beat(self) -> None:
        about = {"host": platform.node(), "pid": os.getpid()}
        with suppress(OSError):
            self._store.put(self._key, json.dumps(about).encode(), "application/json")


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True


# What was spent ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Spent:
    """On workers, in the currency of the prices."""

    worker_s: float
    cost: float
    num_stages: int = 1  # of commands: a rendering, a retry, an extraction of features

    def an_image(self, by_status: Mapping[str, int]) -> tuple[float | None, float | None]:
        """The cost of each record, with an image or without one, and of each image that is ok; None where none is."""
        numbers = sum(by_status.values()), by_status.get(OK, 0)
        each, ok = (self.cost / number if number else None for number in numbers)
        return each, ok

    def text(self, by_status: Mapping[str, int]) -> str:
        """For people. `by_status`: the records that it was spent on."""
        each, ok = self.an_image(by_status)
        said = "" if each is None else f", {each:.3g} an image"
        said += "" if ok is None or ok == each else f", {ok:.3g} an image that is ok"
        return f"{self.cost:.3g} for {self.worker_s / 3600:.3g} worker hours{said}"


class Spending:
    """One stage's file."""

    def __init__(self, store: Store, work: str, price_per_hour: float) -> None:
        self._store = store
        self._key = f"{SPENDING_PREFIX}{uuid.uuid4().hex}.json"
        self._about = {"work": work, "price_per_hour": price_per_hour}

    def put(self, worker_s: float, cost: float) -> None:
        """Raises OSError where the store fails."""
        now = datetime.now(UTC).isoformat()
        found = {**self._about, "worker_s": worker_s, "cost": cost, "updated_at": now}
        self._store.put(self._key, to_json(found), "application/json")


def spent(store: Store) -> Spent | None:
    """All together; None where no command was given a price. A file that is none of ours counts nothing."""
    keys = [info.key for info in store.list(SPENDING_PREFIX)]
    found = [each for each in prefetched(keys, lambda key: _read(store, key)) if each]
    if not found:
        return None
    return Spent(sum(worker_s for worker_s, _ in found), sum(cost for _, cost in found), len(found))


def _read(store: Store, key: str) -> tuple[float, float] | None:
    try:
        about = json.loads(store.get(key))
        found = float(about["worker_s"]), float(about["cost"])
    except (NotFound, ValueError, KeyError, TypeError, OverflowError):
        return None
    return found if all(0 <= each < math.inf for each in found) else None
