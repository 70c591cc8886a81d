"""Threads of one process that render: a main thread that ends first, a Ray that a caller leaves, a second address."""

import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

import darkroom
from darkroom.domain.errors import DarkroomError, TryAgain

PAINT = {"model": "paint", "height": 16, "width": 16}
PROMPTS = [f"picture {number}" for number in range(8)]
ON_RAY = darkroom.EngineOptions(kind="ray", num_workers=1, shard_size=2)

# The main thread ends at the first event of the run, and Python waits for the other.
_ENDING = """
import sys, threading
import darkroom
begun = threading.Event()
def render():
    engine = darkroom.EngineOptions(kind=sys.argv[1], num_workers=1, shard_size=2)
    prompts = [f"picture {number}" for number in range(8)]
    try:
        run = darkroom.generate(prompts, model="paint", height=16, width=16, out="run", engine=engine, progress=told)
        print(len(run.records))
    except darkroom.DarkroomError as error:
        print(error)
def told(event):
    begun.set()
    threading.main_thread().join(20)
threading.Thread(target=render).start()
begun.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["ray", "local"])
def test_a_run_whose_main_thread_ends_first_ends_in_a_line(tmp_path: Path, engine: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _ENDING, engine], cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "join() the thread that calls darkroom" in ended.stdout
    assert not ended.stderr


@pytest.mark.slow
def test_a_ray_that_is_shut_down_ends_the_run_and_no_other_is_joined(tmp_path: Path) -> None:
    import ray

    begun, go_on = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    def told(_: Any) -> None:
        begun.set()
        go_on.wait(60)

    def render() -> None:
        try:
            darkroom.generate(PROMPTS, out=tmp_path / "run", engine=ON_RAY, progress=told, **PAINT)
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=render)
    thread.start()
    begun.wait(60)
    ray.shutdown()
    go_on.set()
    thread.join(60)
    assert not thread.is_alive()
    assert not ray.is_initialized()
    [error] = raised
    assert isinstance(error, TryAgain)
    assert "this process left its Ray" in str(error)
    assert darkroom.generate(PROMPTS, out=tmp_path / "run", engine=ON_RAY, **PAINT).status().is_finished


@pytest.mark.slow
def test_another_address_is_refused_while_a_ray_is_in_use(tmp_path: Path) -> None:
    elsewhere = darkroom.EngineOptions(kind="ray", address="10.255.255.1:6379")
    refused: list[str] = []

    def told(_: Any) -> None:
        if not refused:
            refused.append("")
            with pytest.raises(DarkroomError, match=r"engine.address=10.255.255.1:6379: this process is in the Ray at"):
                darkroom.generate(PROMPTS, out=tmp_path / "other", engine=elsewhere, **PAINT)

    assert darkroom.generate(PROMPTS, out=tmp_path / "run", engine=ON_RAY, progress=told, **PAINT).status().is_finished
    assert refused


_FORKING = """
import multiprocessing
import darkroom, ray

def render(engine, answers):
    try:
        run = darkroom.generate(["a cat"], model="paint", height=16, width=16, out=f"run_{engine}", engine=engine)
        answers.put(len(run.records))
    except darkroom.DarkroomError as error:
        answers.put(str(error))

if __name__ == "__main__":
    ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="error")
    processes = multiprocessing.get_context("fork")
    for engine in ("local", "ray"):
        answers = processes.Queue()
        child = processes.Process(target=render, args=(engine, answers))
        child.start()
        print(answers.get(timeout=100))
        child.join()
    render("ray", answers)
    print(answers.get())
"""


@pytest.mark.slow
def test_a_process_that_is_forked_off_one_in_a_ray_is_told_so(tmp_path: Path) -> None:
    words = [sys.executable, "-c", _FORKING]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    local, forked, parent = done.stdout.splitlines()
    assert (local, parent) == ("1", "1")
    assert forked.startswith("engine=ray: this process was forked off one that is in a Ray, ")


@pytest.mark.slow
def test_a_start_of_ray_that_is_interrupted_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    started = ray.init

    def interrupted(**words: Any) -> None:
        started(**words)
        raise KeyboardInterrupt

    monkeypatch.setattr(ray, "init", interrupted)
    with pytest.raises(KeyboardInterrupt):
        darkroom.generate(PROMPTS, out=tmp_path / "run", engine=ON_RAY, **PAINT)
    assert not ray.is_initialized()
    monkeypatch.undo()
    assert darkroom.generate(PROMPTS, out=tmp_path / "run", engine=ON_RAY, **PAINT).status().is_finished
