"""Several drivers on one run: each renders its share first, and then helps with what is left of the others'.

What two of them render at once is committed by the first. So nobody waits for a driver that may be dead.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from darkroom.domain.identity import Shard
from darkroom.engine.tasks import ShardTask, Task
from darkroom.runs.drivers import Driver
from darkroom.runs.shard_set import ShardSet


@dataclass
class Shared:
    """The tasks of one driver, found as they are asked for."""

    driver: Driver
    tasks: Callable[[Container[Shard]], Iterator[Task]]  # of all shards but these
    left: Callable[[], Sequence[Shard]]  # shards that are not committed now, in the order of `tasks`
    given: ShardSet  # to this driver: none yet

    def __call__(self, committed: Container[Shard]) -> Iterator[Task]:
        """`committed`: as they were a moment ago."""
        yield from self._given(self.tasks(_Skipped(lambda shard: shard in committed or not self.driver.owns(shard))))
        while others := [shard for shard in self.left() if shard not in self.given]:
            # The latter half: their own drivers begin at the front.
            chosen = frozenset(others[len(others) // 2 :])
            yield from self._given(self.tasks(_Skipped(lambda shard: shard not in chosen)))  # noqa: B023

    def _given(self, tasks: Iterator[Task]) -> Iterator[Task]:
        for task in tasks:
            assert isinstance(task, ShardTask)
            self.given.add(task.shard)
            yield task


@dataclass(frozen=True)
class _Skipped(Container[Shard]):
    """Shards for which this holds when it is asked."""

    holds: Callable[[Shard], bool]

    def __contains__(self, shard: object) -> bool:
        assert isinstance(shard, Shard)
        return self.holds(shard)
