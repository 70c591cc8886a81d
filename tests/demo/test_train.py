"""A training of seconds runs every phase, goes on after a kill, and is deterministic."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from darkroom.demo.train import TrainSettings, train
from darkroom.demo.training_loop import Phase, train_steps
from tests.processes import forks

pytestmark = pytest.mark.slow

TINY = TrainSettings(
    num_threads=1,
    num_scenes=64,
    text=Phase("text", 2, 8, 1e-3, checkpoint_every=1),
    autoencoder=Phase("autoencoder", 2, 2, 1e-3, average=0.9, checkpoint_every=1),
    denoiser=Phase("denoiser", 2, 4, 1e-3, average=0.9, checkpoint_every=1),
    clip_attributes=Phase("clip_attributes", 2, 4, 1e-3, checkpoint_every=1),
    clip=Phase("clip", 2, 8, 1e-3, average=0.9, checkpoint_every=1),
    clip_words=Phase("clip_words", 2, 4, 1e-3, average=0.9, checkpoint_every=1),
)


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {
        f"{path.parent.name}/{name}": tensor
        for path in sorted(folder.rglob("*.safetensors"))
        for name, tensor in load_file(path).items()
    }


@pytest.mark.slow
def test_the_same_seed_makes_the_same_weights(tmp_path: Path) -> None:
    said = [_train_in_a_process(tmp_path / name) for name in "ab"]
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {tensor.dtype for tensor in first.values()} == {torch.float16}
    assert any(line.startswith("denoiser: step 2/2") and "samples/s" in line for line in said[0])


def _train_in_a_process(folder: Path) -> list[str]:
    """As the job does; a second training in one process would find PyTorch warm, which moves low bits."""
    with forks(1) as pool:
        return pool.apply(_trained, (folder,))


def _trained(folder: Path) -> list[str]:
    lines: list[str] = []
    train(TINY, folder, lines.append)
    return lines


def test_a_training_that_was_cut_off_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    def fit(folder: Path, stop_at: int | None) -> torch.Tensor:
        folder.mkdir(exist_ok=True)
        torch.manual_seed(0)
        module = torch.nn.Linear(4, 1)
        calls = 0

        def loss_of(generator: torch.Generator) -> torch.Tensor:
            nonlocal calls
            calls += 1
            if calls == stop_at:
                raise KeyboardInterrupt
            data = torch.randn(8, 4, generator=generator)
            return (module(data) - data.sum(1, keepdim=True)).square().mean()

        train_steps(Phase("fit", 20, 8, 0.01, 0.9, 5, 4), module, loss_of, 0, folder, lambda line: None)
        return module.weight.detach()

    whole = fit(tmp_path / "whole", None)
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path / "cut", 11)
    assert torch.equal(fit(tmp_path / "cut", None), whole)
