"""Drivers of a run: each command that renders it keeps a small file there that says it lives.

Time is the store's: a driver lives whose file is not much older than one's own. Nothing here may fail a run; at worst
shards are rendered twice, of which the first commit counts.
"""

import json
import os
import platform
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from types import TracebackType

from darkroom.domain.identity import digest
from darkroom.runs.files import DRIVERS_PREFIX
from darkroom.storage.store import NotFound, ObjectInfo, Store

BEAT_EVERY_S = 30.0
_LONGEST_PUT_S = 10.0
_SILENT = timedelta(seconds=5 * BEAT_EVERY_S)


class Driver:
    """This command's file, renewed until the context ends; `group`: drivers of one group share work."""

    def __init__(self, store: Store, group: str) -> None:
        self._store = store
        self._prefix = f"{DRIVERS_PREFIX}{group}-"
        self._key = f"{self._prefix}{uuid.uuid4().hex}.json"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="driver", daemon=True)
        self._others: tuple[str, ...] = ()
        self._looked_at = 0.0

    def __enter__(self) -> "Driver":
        self._beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Remove the file, and those of drivers that ended without a chance to."""
        self._ended.set()
        self._thread.join(_LONGEST_PUT_S)  # else the file would come back
        with suppress(OSError):
            living = {info.key for info in self._living()}
            dead = [info.key for info in self._store.list(self._prefix) if info.key not in living]
            self._store.delete([self._key, *dead])

    def owns(self, shard_id: str) -> bool:
        """Whether the shard is of this driver's share: each shard has one driver among those that live.

        By the highest digest, so that a driver that comes or goes moves no shards between the others.
        """
        drivers = (self._key, *self._living_others())
        return max(drivers, key=lambda key: digest("driver", key, shard_id)) == self._key

    def _living_others(self) -> tuple[str, ...]:
        """Their keys, as they were at most some seconds ago."""
        if time.monotonic() - self._looked_at > BEAT_EVERY_S:
            self._looked_at = time.monotonic()
            with suppress(OSError):
                self._others = tuple(info.key for info in self._living() if info.key != self._key)
        return self._others

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

    def _keep_up(self) -> None:
        while not self._ended.wait(BEAT_EVERY_S):
            self._beat()


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # somebody else's
    return True
