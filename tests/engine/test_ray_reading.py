"""Figures of stored features that workers of a real Ray read: those of one reader, whatever becomes of the workers."""

import os
import signal

import psutil
import pytest

from darkroom.api import gathering
from darkroom.api.calls import evaluate
from darkroom.engine.tasks import ShardDone
from darkroom.evaluation.figures import Evaluation
from tests.jobs.helpers import PAINT, run_here

pytestmark = pytest.mark.slow
OPTIONS = {"metrics": ["demo_clip.clip_score", "demo_clip.vendi"], "by": ["kind"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two cells of 32 images in shards of 2, with their features."""
    folder = tmp_path_factory.mktemp("run")
    lines = [f"a red circle {number},{'even' if number % 2 == 0 else 'odd'}" for number in range(32)]
    (folder / "prompts.csv").write_text("\n".join(["prompt,kind", *lines]))
    words = [*PAINT, "prompts=file", f"prompts.uri={folder}/prompts.csv", f"output.uri={folder}/run"]
    assert run_here("sweep", *words, "engine.shard_size=2", "grid.axes.guidance_scale=[1,3]", "evaluate=inline") == 0
    return f"{folder}/run"


def measured(
    run: str, monkeypatch: pytest.MonkeyPatch, engine: dict, span: int, progress=lambda event: None
) -> Evaluation:
    monkeypatch.setattr(gathering, "SPAN", span)
    monkeypatch.setattr(gathering, "MOST_HELD", 20)
    return evaluate(run, engine=engine, progress=progress, **OPTIONS).evaluation


def test_figures_are_the_same_bit_for_bit_whatever_reads_the_features(
    run: str, monkeypatch: pytest.MonkeyPatch, ray_cluster: None
) -> None:
    here = measured(run, monkeypatch, {"kind": "local"}, 8)
    killed: list[int] = []

    def kill_one(event: object) -> None:
        if isinstance(event, ShardDone) and not killed:
            actors = [each for each in psutil.Process().children(recursive=True) if "ray::WorkerActor" in each.name()]
            killed.append(actors[0].pid)
            os.kill(actors[0].pid, signal.SIGKILL)

    there = measured(run, monkeypatch, {"kind": "ray", "num_workers": 2}, 8, kill_one)
    assert killed
    for name in ("cells", "gaps", "by", "controls", "images"):
        assert getattr(there, name) == getattr(here, name)
    for figures in here.cells.values():
        assert figures["demo_clip.vendi"].num_images == 20
        assert figures["demo_clip.clip_score"].num_images == 32
