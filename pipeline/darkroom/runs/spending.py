"""What was spent on a run's workers: each command that was given a price keeps a small file there, and renews it while
it works.

A command that was killed has counted all but its last half minute, and one without a price counts nothing.
"""

import json
import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from darkroom.domain.records import OK
from darkroom.runs.files import SPENDING_PREFIX, to_json
from darkroom.storage.store import NotFound, Store, prefetched


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
