"""Two commands on one run split its shards, and what is left of one's share the other takes."""

import json
import os
import time
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from darkroom.api.render_job import Shared
from darkroom.domain.identity import Shard
from darkroom.engine.planning import plan
from darkroom.engine.tasks import ShardTask
from darkroom.rendering.renderer import PaintRenderer
from darkroom.runs import drivers
from darkroom.runs.listing import ShardSet
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT
from tests.processes import Job, ended, wait_for

SHARDS = list(plan(8, 1, ["cell"], "fingerprint"))


def shared(
    owns: Callable[[Shard], bool], left: Callable[[], list[Shard]], helps: Callable[[Shard], bool] = lambda shard: True
) -> Shared:
    def tasks(done: Container[Shard]) -> Iterator[ShardTask]:
        return (ShardTask(shard, None, (), None) for shard in SHARDS if shard not in done)  # type: ignore[arg-type]

    driver = SimpleNamespace(owns=owns, helps=helps, done=ShardSet(1))
    return Shared(driver, len(SHARDS), tasks, left, ShardSet(1))  # type: ignore[arg-type]


def test_a_driver_renders_its_share_and_then_the_latter_half_of_what_is_left() -> None:
    committed: set[int] = {0}
    found = shared(
        lambda shard: shard.start % 2 == 0, lambda: [shard for shard in SHARDS if shard.start not in committed]
    )
    given = []
    for task in found(ShardSet(1, SHARDS[:1])):
        given.append(task.shard.start)
        committed.add(task.shard.start)
    assert given == [2, 4, 6, 5, 7, 3, 1]
    assert found.num_elsewhere == 0


def test_what_others_commit_meanwhile_is_not_rendered_again() -> None:
    committed = {1, 3, 5, 7}
    found = shared(
        lambda shard: shard.start % 2 == 0, lambda: [shard for shard in SHARDS if shard.start not in committed]
    )
    assert [task.shard.start for task in found(ShardSet(1))] == [0, 2, 4, 6]
    assert found.num_elsewhere == 4


def test_of_two_that_help_a_third_each_takes_other_shards_first() -> None:
    """The third owns every shard, and has committed none yet."""

    def helper(number: int) -> Iterator[ShardTask]:
        return shared(lambda shard: False, lambda: SHARDS, lambda shard: shard.start % 2 == number)(ShardSet(1))

    given = [[next(tasks).shard.start, next(tasks).shard.start] for tasks in (helper(0), helper(1))]
    assert given == [[4, 6], [5, 7]]


def test_what_others_commit_is_counted_when_the_driver_has_asked() -> None:
    found = shared(lambda shard: shard.start < 4, list)
    counts = []
    for task in found(ShardSet(1)):
        counts.append(found.num_elsewhere)
        found.driver.done = ShardSet(1, [shard for shard in SHARDS if shard.start in (task.shard.start, 5, 6)])
    assert counts == [0, 2, 2, 2]


@dataclass(frozen=True)
class Meeting:
    """Begins once so many processes are there, paints slowly, and looks for others often."""

    folder: Path
    num_processes: int

    def __call__(self) -> None:
        drivers.LOOK_EVERY_S = 0.2
        paint = PaintRenderer.render
        PaintRenderer.render = lambda *given: (time.sleep(0.15), paint(*given))[1]  # type: ignore[method-assign]
        (self.folder / f"{os.getpid()}.here").touch()
        wait_for(lambda: len(list(self.folder.glob("*.here"))) == self.num_processes)


@pytest.mark.slow
def test_two_commands_at_once_split_a_run(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"a red circle {number}"}) + "\n" for number in range(96)))
    words = [*PAINT, "prompts=file", f"prompts.uri={prompts}", f"output.uri={tmp_path / 'run'}",
             "engine.shard_size=4", "engine.batch_size=4"]  # fmt: skip
    started = [Job("generate", words, Meeting(tmp_path, 2)) for _ in range(2)]
    said = [ended(job, 0) for job in started]
    rendered = [int(next(line for line in text.splitlines() if " images rendered" in line).split()[0]) for text in said]
    # Twice: what the first rendered before it saw the second (LOOK_EVERY_S), and shards under way at the end.
    assert 96 <= sum(rendered) <= 96 + 48
    assert min(rendered) >= 16
    assert sorted(record.row for record in records(open_store(parse_spec(str(tmp_path / "run"))))) == list(range(96))
    assert not list((tmp_path / "run" / "drivers").glob("*"))
