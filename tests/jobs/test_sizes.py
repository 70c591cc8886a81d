"""Sizes: what a model makes of the size that was asked for, and what a file format can hold."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import PAINT, run_here
from tests.rendering.tiny_models import tiny_flux

SIZES = "prompt,width,height\na red disc,64,64\na red disc,64,72\na red disc,104,64\n"


def arguments(folder: Path, text: str) -> tuple[str, ...]:
    (folder / "sizes.csv").write_text(text)
    return "prompts=file", f"prompts.uri={folder / 'sizes.csv'}", f"output.uri={folder / 'run'}", "engine=local"


@pytest.mark.slow
def test_records_and_files_say_the_size_that_the_image_has(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = f"model.repo_id={tiny_flux(tmp_path / 'model')}"
    model_and_steps = ("model=diffusers", model, "sampling.guidance_scale=null", "sampling.num_inference_steps=1")
    given = (*model_and_steps, "sampling.height=64", "sampling.width=64")
    given = (*arguments(tmp_path, SIZES), *given)
    assert run_here("plan", *given) == 0
    warned = capsys.readouterr().err
    assert "FluxPipeline of model makes 64x64 of 64x72, 96x64 of 104x64; records will say so" in warned
    assert run_here("generate", *given) == 0
    said = capsys.readouterr()
    assert "makes 64x64 of 64x72, 96x64 of 104x64" in said.err
    assert "64x72 to 64x64" in said.out
    assert "104x64 to 96x64" in said.out
    for record in pd.read_parquet(tmp_path / "run" / "metadata").itertuples():
        image = Image.open(tmp_path / "run" / record.key)
        settings = json.loads(image.text["darkroom"])
        assert image.size == (record.width, record.height) == (settings["width"], settings["height"])
        assert f"Size: {record.width}x{record.height}" in image.text["parameters"]
    assert run_here("verify", f"run={tmp_path / 'run'}") == 0


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_a_row_that_its_format_cannot_hold_costs_one_record(tmp_path: Path, layout: str) -> None:
    given = arguments(tmp_path, "prompt,width,height\na,16,16\nb,16384,8\nc,8,16384\nd,16,16\n")
    assert run_here("generate", *PAINT, *given, "output.image_format=webp", f"output.layout={layout}")
    found = pd.read_parquet(tmp_path / "run" / "metadata").sort_values("row")
    assert found["status"].tolist() == ["ok", "failed", "failed", "ok"]
    assert "webp holds at most 16383 a side" in found["error"].iloc[1]
    assert set(found["attempt"]) == {1}


@pytest.mark.slow
def test_plan_says_what_the_format_cannot_hold(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    given = arguments(tmp_path, "prompt,width,height\na,16384,8\nb,16,16\n")
    assert run_here("plan", *PAINT, *given, "output.image_format=webp") == 0
    assert "warning: 16384x8 pixels: webp holds at most 16383" in capsys.readouterr().err


@pytest.mark.slow
def test_a_size_that_no_image_of_the_format_has_is_refused(tmp_path: Path) -> None:
    given = arguments(tmp_path, "prompt\na\n")
    with pytest.raises(DarkroomError, match="webp holds at most 16383"):
        run_here("plan", *PAINT, *given, "output.image_format=webp", "sampling.width=16384", "sampling.height=8")
