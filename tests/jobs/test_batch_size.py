"""`engine.batch_size=auto` through whole jobs."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.rendering.tiny_models import tiny_sd


@pytest.fixture
def cache(own_cache: Path) -> Path:
    return own_cache / "batch_sizes"


def sizes(run: Path) -> set[int]:
    return set(pd.read_parquet(run / "metadata")["batch_size"])


@pytest.mark.slow
def test_a_run_keeps_the_size_that_its_first_start_found(tmp_path: Path, cache: Path) -> None:
    model = tiny_sd(tmp_path / "model")
    command = (
        "model=diffusers", f"model.repo_id={model}", "engine=local", "engine.batch_size=auto", "engine.shard_size=32",
        "sampling.num_inference_steps=1", "sampling.height=16", "sampling.width=16",
    )  # fmt: skip
    run = tmp_path / "run"
    assert run_here("generate", *command, f"output.uri={run}") == 0
    [kept] = cache.glob("*.json")
    found = json.loads(kept.read_text())["batch_size"]
    assert json.loads((run / "run.json").read_text())["batch_size"] == found
    assert sizes(run) == {found}

    kept.write_text(json.dumps({"batch_size": 5}))
    other = tmp_path / "other"
    assert run_here("generate", *command, f"output.uri={other}") == 0
    assert sizes(other) == {5}  # remembered, not measured

    next((run / "metadata").rglob("*.parquet")).unlink()
    shutil.rmtree(run / "images")
    assert run_here("generate", *command, f"output.uri={run}") == 0
    assert sizes(run) == {found}
    assert run_here("verify", f"run={other}", "num_images=4") == 0


@pytest.mark.slow
def test_what_is_neither_a_number_nor_auto_is_refused(tmp_path: Path, cache: Path) -> None:
    for value in ("best", "0", "4097", "2.5", "true"):
        with pytest.raises(DarkroomError, match="batch_size"):
            run_here("generate", *PAINT, f"output.uri={tmp_path}", f"engine.batch_size={value}")


@pytest.mark.slow
def test_a_renderer_without_a_model_takes_the_default(tmp_path: Path, cache: Path) -> None:
    assert run_here("generate", *PAINT, f"output.uri={tmp_path / 'run'}", "engine.batch_size=auto") == 0
    assert run_here("plan", *PAINT, f"output.uri={tmp_path / 'run'}", "engine.batch_size=auto") == 0
    assert sizes(tmp_path / "run") == {8}
    assert not cache.exists()
