"""What nothing is said of is the model's own, and a run that was begun with other defaults goes on with them alone."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

import darkroom
from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import run_here
from tests.rendering.tiny_models import tiny_lcm, tiny_sd

OLD = ("sampling.guidance_scale=5.0", "sampling.num_inference_steps=20")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_lcm(tmp_path_factory.mktemp("made") / "lcm")


def job(name: str, model: Path, folder: Path, *more: str) -> int:
    (folder / "prompts.txt").write_text("a cat\na dog\n")
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={folder / 'prompts.txt'}")
    given = (*given, "engine=local", "engine.device=cpu", "engine.proof=off", "sampling.height=16", "sampling.width=16")
    return run_here(name, *given, *more)


def age(run: Path, *lost: str) -> Path:
    """As a version before 0.2.0 left the run, and without some of its files."""
    found = json.loads((run / "run.json").read_text())
    found.pop("version")
    (run / "run.json").write_text(json.dumps(found))
    for name in lost:
        for path in run.glob(name):
            path.unlink()
    return run


def steps_of(run: Path) -> list[float]:
    return sorted(set(pd.read_parquet(run / "metadata").num_inference_steps))


@pytest.mark.slow
def test_a_few_step_model_is_rendered_with_its_own_settings(model: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    assert job("generate", model, tmp_path, f"output.uri={run}") == 0
    assert "4 steps of default, guidance 8, 16x16" in capsys.readouterr().out
    found = pd.read_parquet(run / "metadata")
    assert (set(found.num_inference_steps), set(found.guidance_scale)) == ({4}, {8.0})
    [cell] = [json.loads(path.read_text()) for path in (run / "cells").iterdir()]
    assert (cell["sampling"]["num_inference_steps"], cell["sampling"]["guidance_scale"]) == (4, 8.0)
    said = ("sampling.guidance_scale=8", "sampling.num_inference_steps=4", "sampling.scheduler=default")
    assert job("generate", model, tmp_path, f"output.uri={run}", *said) == 0  # the same cell by its numbers
    assert len(pd.read_parquet(run / "metadata")) == 2
    assert run_here("verify", f"run={run}") == 0


@pytest.mark.slow
def test_more_steps_than_its_scheduler_takes_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=r"steps=51: the model's own scheduler takes 50 steps of lcm at most"):
        job("generate", model, tmp_path, f"output.uri={tmp_path / 'run'}", "sampling.num_inference_steps=51")
    sd = tiny_sd(tmp_path / "sd")
    words = ("sampling.scheduler=lcm", f"output.uri={tmp_path / 'run'}")
    with pytest.raises(DarkroomError, match=r"steps=60: sampling\.scheduler=lcm takes 50 steps of sd at most"):
        job("plan", sd, tmp_path, "sampling.num_inference_steps=60", *words)
    rows = tmp_path / "rows.csv"
    rows.write_text("prompt,num_inference_steps\na cat,2\na dog,70\n")
    with pytest.raises(DarkroomError, match=r"row 1: its num_inference_steps=70: sampling\.scheduler=lcm takes 50"):
        job("plan", sd, tmp_path, f"prompts.uri={rows}", "sampling.num_inference_steps=2", *words)


@pytest.mark.slow
@pytest.mark.parametrize("lost", [(), ("cells/*",), ("run.json",), ("run.json", "cells/*")])
def test_a_run_of_older_defaults_goes_on_with_the_words_that_it_is_told(
    model: Path, tmp_path: Path, lost: tuple[str, ...]
) -> None:
    run = tmp_path / "run"
    given = (f"output.uri={run}", "engine.shard_size=1")
    assert job("generate", model, tmp_path, *given, *OLD) == 0
    next((run / "metadata").rglob("*.parquet")).unlink()
    age(run, *lost)
    with pytest.raises(DarkroomError, match=f"go on with {' '.join(OLD)}, or use another output.uri") as caught:
        job("generate", model, tmp_path, *given)
    assert "\n" not in str(caught.value)
    assert "the model's own is guidance_scale 8.0, num_inference_steps 4" in str(caught.value)
    assert job("generate", model, tmp_path, *given, *OLD) == 0
    assert steps_of(run) == [20]


@pytest.mark.slow
def test_a_sweep_of_older_defaults_is_not_rendered_anew(model: Path, tmp_path: Path) -> None:
    run, axis = tmp_path / "run", "grid.axes.num_inference_steps=[1,2]"
    assert job("sweep", model, tmp_path, f"output.uri={run}", axis, OLD[0]) == 0
    age(run)
    more = "grid.axes.num_inference_steps=[1,2,3]"
    with pytest.raises(DarkroomError, match=f"go on with {OLD[0]}, or use another"):
        job("sweep", model, tmp_path, f"output.uri={run}", more)
    assert job("sweep", model, tmp_path, f"output.uri={run}", more, OLD[0]) == 0
    own = "grid.axes.guidance_scale=[null]"  # said of a cell, it is no default
    assert job("sweep", model, tmp_path, f"output.uri={run}", "grid.axes.num_inference_steps=[1]", own) == 0
    assert len(list((run / "cells").iterdir())) == 4


@pytest.mark.slow
def test_a_folder_that_is_named_by_older_defaults_is_found(model: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert job("generate", model, tmp_path, *OLD) == 0
    [run] = (tmp_path / "runs").iterdir()
    assert job("generate", model, tmp_path) == 0  # beside it, since it is no older one
    [other] = {*(tmp_path / "runs").iterdir()} - {run}
    shutil.rmtree(other)
    age(run)
    with pytest.raises(DarkroomError, match=f"{run.name}: this run was begun with {' '.join(OLD)}"):
        job("generate", model, tmp_path)
    assert job("generate", model, tmp_path, *OLD) == 0
    assert job("generate", model, tmp_path, f"output.uri={tmp_path / 'mine'}") == 0
    assert (steps_of(run), steps_of(tmp_path / "mine")) == ([20], [4])


@pytest.mark.slow
def test_an_axis_takes_null_and_numbers_and_python_does_the_same(model: Path, tmp_path: Path) -> None:
    size = {"height": 16, "width": 16}
    axes = {"num_inference_steps": [None, 2], "scheduler": [None, "tcd"]}
    sweep = darkroom.sweep(["a cat"], model=model, out=tmp_path / "run", axes=axes, **size)
    found = {(row.scheduler, row.num_inference_steps, row.guidance_scale) for row in sweep.records.itertuples()}
    assert found == {(name, steps, 8.0) for name in ("default", "tcd") for steps in (4, 2)}
    again = darkroom.generate(["a cat"], model=model, out=tmp_path / "one", guidance_scale=None, **size)
    assert set(again.records.num_inference_steps) == {4}
