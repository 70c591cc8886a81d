"""A refiner through the command: mixed rows, in records and image files, and found again where it has moved."""

import json
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import run_here
from tests.rendering.tiny_models import tiny_refiner, tiny_sdxl

ROWS = ("a red circle,3,", "a large blue square,5,dark", "two circles,2,dark")


pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.mark.slow
def test_a_refined_run_is_planned_rendered_and_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, refiner = tiny_sdxl(tmp_path / "model"), tiny_refiner(tmp_path / "refiner")
    (tmp_path / "prompts.csv").write_text("\n".join(["prompt,guidance_scale,negative_prompt", *ROWS, ""]))
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}")
    given = (*given, "engine=local", "engine.device=cpu", "engine.batch_size=2", "sampling.height=32")
    given = (*given, "sampling.width=32", "sampling.num_inference_steps=5", f"output.uri={tmp_path / 'run'}")
    words = (*given, "grid.axes.refiner_start=[0.6,1]", f"model.refiner={refiner}")
    assert run_here("plan", *given, f"model.refiner={refiner}") == 0
    assert "unet of the refiner" in capsys.readouterr().out
    assert run_here("sweep", *words) == 0
    frame = pd.read_parquet(tmp_path / "run" / "metadata")
    assert (len(frame), frame.sha256.nunique()) == (6, 6)
    assert set(frame.refiner_start) == {0.6, 1.0}
    assert {json.loads(each)[0]["kind"] for each in frame.model_parts} == {"refiner"}
    texts = [Image.open(path).info for path in (tmp_path / "run" / "images").rglob("*.png")]
    assert len(texts) == 6
    assert any("Refiner switch at: 0.6" in str(each) for each in texts)
    refiner.rename(tmp_path / "moved")
    with pytest.raises(DarkroomError, match=r"give the file or its folder, as it lies now, as model\.adapters="):
        run_here("verify", f"run={tmp_path / 'run'}")
    assert run_here("verify", f"run={tmp_path / 'run'}", f"model.adapters=[{tmp_path}]") == 0
