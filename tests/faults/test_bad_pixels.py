"""A model that makes no picture: each image is a record that says why, the run is whole, and its exit code tells."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.domain.records import FAILED
from darkroom.jobs.console import ExitCode
from darkroom.runs.reading import records
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import run_here
from tests.rendering.tiny_models import tiny_sd


@pytest.mark.slow
@pytest.mark.parametrize(
    ("weight", "bias", "reason"), [(0.0, -10.0, "every pixel is black"), (float("nan"), 0.0, "NaN or infinite values")]
)
def test_black_and_nan_images_are_failed_records(tmp_path: Path, weight: float, bias: float, reason: str) -> None:
    file = tiny_sd(tmp_path / "model") / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["decoder.conv_out.weight"] = torch.full_like(tensors["decoder.conv_out.weight"], weight)
    tensors["decoder.conv_out.bias"] = torch.full_like(tensors["decoder.conv_out.bias"], bias)
    save_file(tensors, file, {"format": "pt"})
    (tmp_path / "prompts.txt").write_text("a cat\na dog\na bird\n")
    model = ("model=diffusers", f"model.repo_id={tmp_path / 'model'}", "sampling.num_inference_steps=1")
    engine = ("engine=local", "engine.device=cpu", "engine.batch_size=2")
    prompts = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.txt'}", f"output.uri={tmp_path / 'run'}")
    assert run_here("generate", *model, *engine, *prompts) is ExitCode.ROWS_FAILED
    found = list(records(open_store(parse_spec(str(tmp_path / "run")))))
    assert [(record.status, record.key) for record in found] == [(FAILED, None)] * 3
    assert all(reason in (record.error or "") for record in found)
