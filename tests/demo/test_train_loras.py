"""A training of LoRAs that takes seconds: deterministic, small, and loadable by plain diffusers."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from darkroom.demo import MODEL_FOLDER
from darkroom.demo.train_loras import LoraSettings, train_loras
from darkroom.demo.training_loop import Phase
from tests.processes import forks

TINY = LoraSettings(
    num_scenes=16,
    rank=2,
    lora=Phase("lora", 2, 4, 1e-3, average=0.9, checkpoint_every=1),
)


def _trained(folder: Path) -> dict[str, torch.Tensor]:
    """As the job does, in a process of its own."""
    with forks(1) as pool:
        said = pool.apply(_train, (folder,))
    assert any("sketch_lora: step 2/2" in line for line in said)
    return load_file(folder / "sketch.safetensors")


def _train(folder: Path) -> list[str]:
    lines: list[str] = []
    train_loras(TINY, MODEL_FOLDER, folder, lines.append, ["sketch"])
    return lines


@pytest.mark.slow
def test_the_same_seed_makes_the_same_lora_which_plain_diffusers_loads(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    first, second = _trained(tmp_path / "a"), _trained(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {tensor.dtype for tensor in first.values()} == {torch.float16}
    assert any(name.endswith("lora_B.weight") and tensor.any() for name, tensor in first.items())
    pipe = DiffusionPipeline.from_pretrained(MODEL_FOLDER)
    pipe.load_lora_weights(str(tmp_path / "a"), weight_name="sketch.safetensors", adapter_name="sketch")
    assert pipe.get_active_adapters() == ["sketch"]
