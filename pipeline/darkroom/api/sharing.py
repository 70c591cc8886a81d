"""Several drivers on one run: each renders its share first, and then helps with what is left of the others'.

What two of them render at once is committed by the first. So nobody waits for a driver that may be dead.
"""

from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass

from darkroom.domain.identity import Shard
from darkroom.engine.tasks import ShardTask, Task
from darkroom.runs.drivers import Driver
from darkroom.runs.listing import ShardSet


@dataclass
class Shared:
    """The tasks of one driver, found as they are asked for."""

    driver: Driver
    num_shards: int  # of the job
    tasks: Callable[[Container[Shard]], Iterator[Task]]  # of all shards but these
    left: Callable[[], Sequence[Shard]]  # shards that are not committed now, in the order of `tasks`
    given: ShardSet  # to this driver: none yet
    num_elsewhere: int = 0  # shards that others are known to have committed since this driver began

    def __call__(self, committed: ShardSet) -> Iterator[Task]:
        """`committed`: as they were a moment ago."""
        own = self.tasks(_Skipped(lambda shard: shard in committed or not self.driver.owns(shard)))
        yield from self._counted(self._given(own), committed)
        while others := self._others(committed):
            # The latter half: their own drivers begin at the front. Of two that help, each takes others first.
            latter = others[len(others) // 2 :]
            chosen = frozenset(filter(self.driver.helps, latter)) or frozenset(latter)
            yield from self._given(self.tasks(_Skipped(lambda shard: shard not in chosen)))  # noqa: B023

    def _given(self, tasks: Iterator[Task]) -> Iterator[Task]:
        for task in tasks:
            assert isinstance(task, ShardTask)
            self.given.add(task.shard)
            yield task

    def _counted(self, tasks: Iterator[Task], committed: ShardSet) -> Iterator[Task]:
        """The same; what others commit is counted anew whenever the driver has asked."""
        done = self.driver.done
        for task in tasks:
            if self.driver.done is not done:
                done = self.driver.done
                self.num_elsewhere = done.num_outside(self.given, committed)
            yield task

    def _others(self, committed: ShardSet) -> list[Shard]:
        """Shards that are left and were not given to this driver."""
        others = [shard for shard in self.left() if shard not in self.given]
        self.num_elsewhere = self.num_shards - len(committed) - len(self.given) - len(others)
        return others


@dataclass(frozen=True)
class _Skipped(Container[Shard]):
    """Shards for which this holds when it is asked."""

    holds: Callable[[Shard], bool]

    def __contains__(self, shard: object) -> bool:
        assert isinstance(shard, Shard)
        return self.holds(shard)
