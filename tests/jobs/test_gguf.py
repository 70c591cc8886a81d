"""Quantized weights of a GGUF file through the command: an axis beside the model's own, and found where they moved."""

import json
from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from tests.jobs.helpers import run_here
from tests.rendering.test_gguf import written
from tests.rendering.tiny_models import tiny_flux


@pytest.mark.slow
def test_a_sweep_has_it_beside_the_exact_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    model, file = tiny_flux(tmp_path / "model"), tmp_path / "mine.gguf"
    written(model, file)
    (tmp_path / "prompts.txt").write_text("a red circle\ntwo blue squares\n")
    given = ("model=diffusers", f"model.repo_id={model}", "prompts=file", f"prompts.uri={tmp_path / 'prompts.txt'}")
    given = (*given, "engine=local", "sampling.height=32", "sampling.width=32", "sampling.num_inference_steps=2")
    assert run_here("sweep", *given, f"grid.axes.gguf=[null,{file}]", f"output.uri={tmp_path / 'run'}") == 0
    found = pd.read_parquet(tmp_path / "run" / "metadata")
    assert (len(found), found.pixels_sha256.nunique()) == (4, 4)
    parts = [json.loads(each)[0]["kind"] for each in found.model_parts.dropna()]
    assert parts == ["gguf", "gguf"]
    file.rename(tmp_path / "moved.gguf")
    with pytest.raises(DarkroomError, match=r"no such file; give a \.gguf file.*model\.adapters="):
        run_here("verify", f"run={tmp_path / 'run'}")
    assert run_here("verify", f"run={tmp_path / 'run'}", f"model.adapters=[{tmp_path / 'moved.gguf'}]") == 0
