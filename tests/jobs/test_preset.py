"""MLPerf's accuracy run from end to end, with small stand-ins for its model, its networks and its photographs."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import save_file

from darkroom.demo import CLIP_FOLDER
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import read_evaluations
from darkroom.jobs.cli import composed
from darkroom.storage.store import open_store, parse_spec
from tests.evaluation.random_weights import random_inception
from tests.evaluation.references import npz
from tests.jobs.helpers import run_here

PRESET = ("preset=mlperf-sdxl", "prompts.uri=captions.parquet", "evaluation.reference=val2014.npz")


def test_the_preset_says_what_the_task_says() -> None:
    config = composed("generate", PRESET)
    sampling, evaluation = config.sampling, config.evaluation
    assert config.model.repo_id == "stabilityai/stable-diffusion-xl-base-1.0"
    assert (sampling.scheduler, sampling.num_inference_steps, sampling.guidance_scale) == ("euler", 20, 8)
    assert (sampling.height, sampling.width) == (1024, 1024)
    assert sampling.negative_prompt == "normal quality, low quality, worst quality, low res, blurry, nsfw, nude"
    assert [tuple(one.values()) for one in evaluation.expect] == [
        ("clip.clip_score", 31.68631873, 31.81331801),
        ("inception_v3.fid", 23.01085758, 23.95007626),
    ]
    assert evaluation.clip_convention == "mlperf"
    assert config.evaluate.name == "inline"


@pytest.mark.slow
def test_what_a_command_says_wins_and_every_rendering_job_knows_the_preset() -> None:
    for job in ("plan", "generate", "sweep"):
        assert composed(job, [*PRESET, "sampling.guidance_scale=7"]).sampling.guidance_scale == 7
    assert composed("generate", ["preset=mlperf-sdxl", "model=demo", "prompts=demo"]).model.repo_id == "darkroom/demo"
    assert composed("generate", []).sampling.guidance_scale is None
    with pytest.raises(DarkroomError, match="did you mean preset=mlperf-sdxl"):
        composed("generate", ["preset=mlperf"])


@pytest.fixture(scope="module")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Eight captions, the embedded model and CLIP, Inception with random weights, statistics of noise."""
    folder = tmp_path_factory.mktemp("mlperf")
    captions = ["a red circle", "a blue square", "two green circles", "a small red square"]
    pd.DataFrame({"prompt": captions, "seed": 0}).to_parquet(folder / "captions.parquet")
    save_file(random_inception(), folder / "inception.safetensors")
    (folder / "stats.npz").write_bytes(npz(mu=np.zeros(2048), sigma=np.eye(2048)))
    clip = f"{{name: clip, source: {CLIP_FOLDER}}}"
    inception = f"{{name: inception_v3, source: {folder / 'inception.safetensors'}, resize: torch, batch_size: 2}}"
    return [
        "preset=mlperf-sdxl", f"prompts.uri={folder / 'captions.parquet'}", f"output.uri={folder / 'run'}",
        "model=demo", "engine=local", "engine.batch_size=4",
        "sampling.height=64", "sampling.width=64", "sampling.num_inference_steps=2",
        f"evaluation.reference={folder / 'stats.npz'}", f"evaluation.extractors=[{clip},{inception}]",
    ]  # fmt: skip


def expecting(clip: tuple[float, float], fid: tuple[float, float]) -> str:
    return (
        f"evaluation.expect=[{{figure: clip.clip_score, lowest: {clip[0]}, highest: {clip[1]}}},"
        f"{{figure: inception_v3.fid, lowest: {fid[0]}, highest: {fid[1]}}}]"
    )


@pytest.mark.slow
def test_a_missing_reference_is_refused_before_anything_is_rendered(stand_in: list[str], tmp_path: Path) -> None:
    arguments = [*stand_in, "evaluation.reference=null", f"output.uri={tmp_path / 'run'}"]
    with pytest.raises(DarkroomError, match=r"inception_v3\.fid needs a reference; give one as reference="):
        run_here("generate", *arguments)
    with pytest.raises(DarkroomError, match=r"holds statistics alone, and clip\.kid needs its images"):
        run_here("generate", *stand_in, "evaluation.metrics=[kid]", f"output.uri={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_the_run_ends_in_pass_or_fail(stand_in: list[str], capsys: pytest.CaptureFixture) -> None:
    assert run_here("generate", *stand_in) == 1  # the stand-in is no SDXL
    said = capsys.readouterr().out
    assert re.search(r"FAIL: clip\.clip_score is \d+\.\d+ in cell .*, expected 31\.68631873 to 31\.81331801", said)
    assert re.search(r"FAIL: inception_v3\.fid is \d+\.\d+ in cell .*, expected 23\.01085758 to 23\.95007626", said)
    uri = next(text for text in stand_in if text.startswith("output.uri=")).partition("=")[2]
    (figures,) = read_evaluations(open_store(parse_spec(uri)))[-1].cells.values()
    clip, fid = (figures[name].value for name in ("clip.clip_score", "inception_v3.fid"))
    near = expecting((clip - 0.01, clip + 0.01), (fid * 0.99, fid * 1.01))
    assert run_here("generate", *stand_in, near) == 0
    said = capsys.readouterr().out
    assert "0 images rendered" in said
    assert said.count("pass: ") == 2
