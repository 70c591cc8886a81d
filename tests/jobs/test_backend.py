"""`engine.backend` through jobs: what a run is computed by is said and recorded, and `verify` does as it was done."""

from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.rendering import backends
from tests.jobs.helpers import run_here

PROMPTS = ("prompts=template", "prompts.pattern=a {x}", "prompts.slots={x: [dot, line, ring]}", "engine=local")
SMALL = (*PROMPTS, "engine.batch_size=2", "engine.device=cpu", "sampling.num_inference_steps=2", "engine.shard_size=1")


@pytest.mark.slow
def test_a_run_says_what_it_was_computed_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Begun by OpenVINO, by itself; ended by torch, by name; each image is verified as it was made."""
    run = f"output.uri={tmp_path / 'run'}"
    assert run_here("generate", *SMALL, run) == 0
    assert "worker(s), cpu by openvino" in capsys.readouterr().out
    first = pd.read_parquet(tmp_path / "run" / "metadata")
    assert set(first.openvino_version) == {backends.openvino_version()}
    lost = sorted((tmp_path / "run" / "metadata").rglob("*.parquet"))[0]
    lost.unlink()
    assert run_here("generate", *SMALL, run, "engine.backend=torch") == 0
    assert "worker(s), cpu by torch" in capsys.readouterr().out
    frame = pd.read_parquet(tmp_path / "run" / "metadata")
    assert frame.openvino_version.isna().sum() == 1
    assert run_here("verify", f"run={tmp_path / 'run'}", "device=cpu") == 0
    assert "3 of 3 images are equal byte by byte" in capsys.readouterr().out
    monkeypatch.setattr(backends, "openvino_version", lambda: None)
    run_here("verify", f"run={tmp_path / 'run'}", "device=cpu")
    said = capsys.readouterr().out
    assert f"'openvino {first.openvino_version[0]}'), now on (" in said
    assert run_here("report", f"run={tmp_path / 'run'}") == 0
    assert f"openvino {first.openvino_version[0]}" in (tmp_path / "run" / "report" / "index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("job", ["plan", "generate", "prove"])
def test_what_it_cannot_compute_is_refused_before_anything_is_loaded(tmp_path: Path, job: str) -> None:
    given = ("engine.backend=openvino", "engine.device=cpu", *(() if job == "prove" else (*PROMPTS,)))
    given = (*given, *(() if job == "prove" else (f"output.uri={tmp_path / 'run'}",)))
    with pytest.raises(DarkroomError, match=r"^engine\.backend=openvino: engine\.compile=true compiles the same UNet"):
        run_here(job, *given, "engine.compile=true")
    with pytest.raises(DarkroomError, match=r"^engine\.backend=openvino: it computes in float32"):
        run_here(job, *given, "model.dtype=bfloat16")
    with pytest.raises(DarkroomError, match=r"^engine\.backend=openvino: layers with LoRAs are torch's"):
        run_here(job, *given, "model.loras=[darkroom/sketch]")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_what_it_leaves_to_torch_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (*SMALL, "engine.backend=openvino", "sampling.freeu_b1=1.2", "sampling.guidance_stop=0.5")
    assert run_here("generate", *given, f"output.uri={tmp_path / 'run'}") == 0
    said = capsys.readouterr().err
    assert "engine.backend=openvino: images with sampling.freeu_b1 are computed by torch" in said
    assert "sampling.guidance_stop are computed" not in said
