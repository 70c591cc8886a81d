"""Guidance of rows and of intervals, through whole jobs."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from darkroom.conf.reference import reference
from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.rendering.tiny_models import tiny_sd, tiny_sd3


@pytest.mark.slow
def test_rows_of_their_own_guidance_are_rendered_together_and_verified(tmp_path: Path) -> None:
    scales = [1.0, 2.0, 3.5, 7.0]
    prompts = tmp_path / "prompts.parquet"
    pd.DataFrame({"prompt": ["a red circle"] * 4, "guidance_scale": scales}).to_parquet(prompts)
    run = tmp_path / "run"
    options = ("engine=local", "engine.profile=true", "sampling.num_inference_steps=2", "sampling.guidance_stop=0.5")
    assert run_here("generate", "prompts=file", f"prompts.uri={prompts}", *options, f"output.uri={run}") == 0
    table = (run / "profile" / "stages.txt").read_text()
    spans = {line.split()[0]: line.split()[1] for line in table.splitlines()}
    assert spans["render"] == "2"  # one batch with guidance and one without
    frame = pd.read_parquet(run / "metadata")
    assert sorted(frame["guidance_scale"]) == scales
    assert frame["sha256"].nunique() == 4
    assert run_here("verify", f"run={run}", "num_images=4") == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("sampling.guidance_stop=0.5", "cannot be changed"),
        ("sampling.guidance_start=1.5", "out of range"),
        ("sampling.guidance_stop=0", "is not before"),
    ],
)
def test_an_interval_that_cannot_be_is_refused(tmp_path: Path, override: str, said: str) -> None:
    with pytest.raises(DarkroomError, match=said):
        run_here("generate", *PAINT, f"output.uri={tmp_path}", override)


@pytest.mark.slow
def test_a_model_that_is_told_its_guidance_refuses_an_interval(tmp_path: Path) -> None:
    model = tiny_sd(tmp_path / "model", time_cond_proj_dim=16)
    options = ("engine=local", "model=diffusers", f"model.repo_id={model}", "sampling.guidance_stop=0.5")
    with pytest.raises(DarkroomError, match=r"is told its guidance in every step; leave them out"):
        run_here("generate", *options, f"output.uri={tmp_path / 'run'}")


@pytest.mark.slow
def test_rescaled_guidance_is_an_axis_that_moves_pixels_and_is_recorded(tmp_path: Path) -> None:
    model, run = tiny_sd(tmp_path / "model"), tmp_path / "run"
    given = ("engine=local", "model=diffusers", f"model.repo_id={model}", "sampling.num_inference_steps=2")
    given = (*given, "sampling.height=16", "sampling.width=16", f"output.uri={run}")
    assert run_here("generate", *given) == 0
    before = pd.read_parquet(run / "metadata")
    assert run_here("sweep", *given, "grid.axes.guidance_rescale=[0,0.7]") == 0
    frame = pd.read_parquet(run / "metadata")
    plain, rescaled = (frame[frame["guidance_rescale"] == value].set_index("prompt_id") for value in (0.0, 0.7))
    assert set(plain["image_id"]) == set(before["image_id"])  # the cell without it is called as it was
    assert (plain["seed"] == rescaled["seed"]).all()
    assert (plain["pixels_sha256"] != rescaled["pixels_sha256"]).all()
    text = Image.open(run / rescaled["key"].iloc[0]).text
    assert json.loads(text["darkroom"])["guidance_rescale"] == 0.7
    assert "CFG rescale: 0.7" in text["parameters"]
    text = Image.open(run / plain["key"].iloc[0]).text
    assert "CFG rescale" not in text["parameters"]
    assert "guidance_rescale" not in json.loads(text["darkroom"])
    assert run_here("verify", f"run={run}", "num_images=8") == 0
    assert run_here("report", f"run={run}") == 0
    assert "| cell | guidance_rescale |" in (run / "report" / "report.md").read_text()
    assert "sampling.guidance_rescale" in reference()


@pytest.mark.slow
def test_rows_may_rescale_their_guidance(tmp_path: Path) -> None:
    prompts, run = tmp_path / "prompts.parquet", tmp_path / "run"
    pd.DataFrame({"prompt": ["a red circle"] * 3, "guidance_rescale": [None, 0.3, 0.7]}).to_parquet(prompts)
    options = ("engine=local", "model=diffusers", f"model.repo_id={tiny_sd(tmp_path / 'model')}")
    options = (*options, "sampling.num_inference_steps=2", "sampling.height=16", "sampling.width=16")
    assert run_here("generate", "prompts=file", f"prompts.uri={prompts}", *options, f"output.uri={run}") == 0
    frame = pd.read_parquet(run / "metadata")
    assert sorted(frame["guidance_rescale"]) == [0.0, 0.3, 0.7]
    assert frame["pixels_sha256"].nunique() == 3
    assert run_here("verify", f"run={run}", "num_images=3") == 0


@pytest.mark.slow
def test_a_model_that_cannot_rescale_its_guidance_is_named_before_anything_is_rendered(tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.parquet"
    pd.DataFrame({"prompt": ["a"], "guidance_rescale": [0.3]}).to_parquet(prompts)
    options = ("engine=local", "model=diffusers", f"model.repo_id={tiny_sd3(tmp_path / 'sd3')}")
    for more, remedy in (
        (("sampling.guidance_rescale=0.5",), "leave it out"),
        (("prompts=file", f"prompts.uri={prompts}"), "prompts.columns.guidance_rescale=null"),
    ):
        with pytest.raises(DarkroomError, match=f"StableDiffusion3Pipeline of sd3 takes no guidance_rescale; {remedy}"):
            run_here("generate", *options, *more, f"output.uri={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_layers_of_the_text_encoder_are_an_axis_and_a_column(tmp_path: Path) -> None:
    prompts, run = tmp_path / "prompts.parquet", tmp_path / "run"
    pd.DataFrame({"prompt": ["a red circle"] * 2, "clip_skip": [None, 1], "seed": [1, 1]}).to_parquet(prompts)
    options = ("engine=local", "model=diffusers", f"model.repo_id={tiny_sd(tmp_path / 'model')}")
    options = (*options, "sampling.num_inference_steps=2", "sampling.height=16", "sampling.width=16")
    given = ("prompts=file", f"prompts.uri={prompts}", *options, f"output.uri={run}", "grid.axes.clip_skip=[0,1]")
    assert run_here("sweep", *given) == 0
    frame = pd.read_parquet(run / "metadata")
    assert sorted(frame["clip_skip"]) == [0, 1, 1, 1]
    assert frame["pixels_sha256"].nunique() == 2
    assert run_here("verify", f"run={run}", "num_images=4") == 0
    with pytest.raises(DarkroomError, match="StableDiffusionPipeline of model takes no pag_scale; leave it out"):
        run_here("generate", *options, "sampling.pag_scale=2", f"output.uri={tmp_path / 'other'}")
    pd.DataFrame({"prompt": ["a red circle"], "clip_skip": [5]}).to_parquet(prompts)
    for words in (("prompts=file", f"prompts.uri={prompts}"), ("sampling.clip_skip=5",)):
        with pytest.raises(DarkroomError, match="clip_skip=5: the text encoder of model has 2 layers; give 1 or less"):
            run_here("generate", *options, *words, f"output.uri={tmp_path / 'other'}")


@pytest.mark.slow
def test_noise_of_steps_is_an_axis_and_a_column_of_schedulers_that_add_it(tmp_path: Path) -> None:
    prompts, run = tmp_path / "prompts.parquet", tmp_path / "run"
    pd.DataFrame({"prompt": ["a red circle"] * 3, "eta": [None, 0.5, 1.0], "seed": [1] * 3}).to_parquet(prompts)
    options = ("engine=local", "model=diffusers", f"model.repo_id={tiny_sd(tmp_path / 'model')}")
    options = (*options, "sampling.num_inference_steps=3", "sampling.height=16", "sampling.width=16")
    given = ("prompts=file", f"prompts.uri={prompts}", *options)
    assert (
        run_here("sweep", *given, f"output.uri={run}", "grid.axes.scheduler=[ddim,tcd]", "grid.axes.eta=[0,0.3]") == 0
    )
    frame = pd.read_parquet(run / "metadata")
    assert sorted(set(frame["eta"])) == [0.0, 0.3, 0.5, 1.0]
    assert frame.groupby("scheduler")["pixels_sha256"].nunique().tolist() == [4, 4]
    assert run_here("verify", f"run={run}", "num_images=12") == 0
    for words, said in ((given, "column eta=1"), ((*options, "sampling.eta=0.5"), "sampling.eta=0.5")):
        with pytest.raises(
            DarkroomError, match=f"{said}: sampling.scheduler=euler takes no eta; leave it out, or give"
        ):
            run_here("generate", *words, "sampling.scheduler=euler", f"output.uri={tmp_path / 'other'}")
    sd3 = ("engine=local", "model=diffusers", f"model.repo_id={tiny_sd3(tmp_path / 'sd3')}", "sampling.eta=0.3")
    with pytest.raises(DarkroomError, match="eta"):
        run_here("generate", *sd3, f"output.uri={tmp_path / 'other'}")
