"""Guidance of rows and of intervals, through whole jobs."""

from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.rendering.tiny_models import tiny_sd


def test_rows_of_their_own_guidance_are_rendered_together_and_verified(tmp_path: Path) -> None:
    scales = [1.0, 2.0, 3.5, 7.0]
    prompts = tmp_path / "prompts.parquet"
    pd.DataFrame({"prompt": ["a red circle"] * 4, "guidance_scale": scales}).to_parquet(prompts)
    run = tmp_path / "run"
    options = ("engine=local", "engine.profile=true", "sampling.num_inference_steps=2", "sampling.guidance_stop=0.5")
    assert run_here("generate", "prompts=file", f"prompts.uri={prompts}", *options, f"output.uri={run}") == 0
    table = (run / "profile" / "stages.txt").read_text()
    assert "\nrender              2" in table  # one batch with guidance and one without
    frame = pd.read_parquet(run / "metadata")
    assert sorted(frame["guidance_scale"]) == scales
    assert frame["sha256"].nunique() == 4
    assert run_here("verify", f"run={run}", "num_images=4") == 0


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampling.guidance_stop=0.5", "not ours to change"),
        ("sampling.guidance_start=1.5", "out of range"),
        ("sampling.guidance_stop=0", "is not before"),
    ],
)
def test_an_interval_that_cannot_be_is_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        run_here("generate", *PAINT, f"output.uri={tmp_path}", override)


def test_a_model_that_is_told_its_guidance_refuses_an_interval(tmp_path: Path) -> None:
    model = tiny_sd(tmp_path / "model", time_cond_proj_dim=16)
    options = ("engine=local", "model=diffusers", f"model.repo_id={model}", "sampling.guidance_stop=0.5")
    with pytest.raises(DarkroomError, match=r"is told its guidance in every step; leave them out"):
        run_here("generate", *options, f"output.uri={tmp_path / 'run'}")
