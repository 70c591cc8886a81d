"""Two commands on one run split its shards, and what is left of one's share the other takes."""

import json
import subprocess
from collections.abc import Callable, Container, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from darkroom.api.sharing import Shared
from darkroom.domain.identity import Shard
from darkroom.engine.planning import plan
from darkroom.engine.tasks import ShardTask
from darkroom.runs.reading import records
from darkroom.runs.shard_set import ShardSet
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import ROOT, command

SHARDS = list(plan(8, 1, ["cell"], "fingerprint"))


def shared(owns: Callable[[Shard], bool], left: Callable[[], list[Shard]]) -> Shared:
    def tasks(done: Container[Shard]) -> Iterator[ShardTask]:
        return (ShardTask(shard, None, (), None) for shard in SHARDS if shard not in done)  # type: ignore[arg-type]

    return Shared(SimpleNamespace(owns=owns), tasks, left, ShardSet(1))  # type: ignore[arg-type]


def test_a_driver_renders_its_share_and_then_the_latter_half_of_what_is_left() -> None:
    committed: set[int] = {0}
    found = shared(
        lambda shard: shard.start % 2 == 0, lambda: [shard for shard in SHARDS if shard.start not in committed]
    )
    given = []
    for task in found({SHARDS[0]}):
        given.append(task.shard.start)
        committed.add(task.shard.start)
    assert given == [2, 4, 6, 5, 7, 3, 1]


def test_what_others_commit_meanwhile_is_not_rendered_again() -> None:
    committed = {1, 3, 5, 7}
    found = shared(
        lambda shard: shard.start % 2 == 0, lambda: [shard for shard in SHARDS if shard.start not in committed]
    )
    assert [task.shard.start for task in found(set())] == [0, 2, 4, 6]


@pytest.mark.slow
def test_two_commands_at_once_split_a_run(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text("".join(json.dumps({"prompt": f"a red circle {number}"}) + "\n" for number in range(96)))
    words = ["engine=local", "prompts=file", f"prompts.uri={prompts}", f"output.uri={tmp_path / 'run'}",
             "engine.shard_size=4", "engine.batch_size=4"]  # fmt: skip
    started = [
        subprocess.Popen(command("generate", *words), cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    said = [process.communicate(timeout=200)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    rendered = [int(next(line for line in text.splitlines() if " images rendered" in line).split()[0]) for text in said]
    # Twice: what the first rendered before it saw the second (LOOK_EVERY_S), and shards under way at the end.
    assert 96 <= sum(rendered) <= 96 + 48
    assert min(rendered) >= 16
    assert sorted(record.row for record in records(open_store(parse_spec(str(tmp_path / "run"))))) == list(range(96))
    assert not list((tmp_path / "run" / "drivers").glob("*"))
