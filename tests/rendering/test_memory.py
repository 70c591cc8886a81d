"""The memory of the device, and what a model takes of it: its weights by their headers, a call by its traced shapes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, DiffusionPipeline

from darkroom.domain.settings import QUANTIZATIONS, ModelRef, Sampling
from darkroom.rendering import memory
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.memory import CallBytes, Held, ModelMemory, model_memory, peak_of, taken_bytes, total_bytes
from darkroom.rendering.tracing import call_bytes, peak_bytes
from tests.rendering.helpers import SAMPLING, Models

HELD = Held("float32", 4)


@pytest.mark.parametrize(
    ("name", "text", "is_less"),
    [
        ("memory.max", "1000000\n", True),
        ("memory/memory.limit_in_bytes", "2000000", True),
        ("memory.max", "max", False),
    ],
)
def test_a_limit_of_the_container_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str, is_less: bool
) -> None:
    whole = total_bytes("cpu")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(text)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    found = total_bytes("cpu")
    assert found
    assert whole
    assert (found == int(text)) if is_less else (found >= whole)


def test_a_system_that_does_not_tell_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_STATUS", "_CLEAR_REFS"):
        monkeypatch.setattr(memory, name, tmp_path / "none" / "here")
    assert taken_bytes("cpu") == 0
    with peak_of("cpu") as peak:
        pass
    assert peak.num_bytes is None


def memory_of(folder: Path, sampling: Sampling | None = None) -> ModelMemory:
    found = model_memory(inspect_model(ModelRef(str(folder)), "cpu"), sampling)
    assert found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_weights_are_those_that_are_loaded(models: Models, dtype: str) -> None:
    pipe = DiffusionPipeline.from_pretrained(models["sdxl"], dtype=getattr(torch, dtype))
    parts = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    loaded = {name: sum(each.nbytes for each in part.parameters()) for name, part in parts.items()}
    assert memory_of(models["sdxl"]).weights(replace(HELD, dtype=dtype)) == loaded


def _pipeline(folder: Path) -> Any:
    absent = [name for name, value in DiffusionPipeline.load_config(folder).items() if value == [None, None]]
    return DiffusionPipeline.from_pretrained(folder, **dict.fromkeys(absent))


@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_quantized_are_the_linear_layers_of_denoiser_and_text_encoders(models: Models, name: str) -> None:
    needs, pipe = memory_of(models[name]), _pipeline(models[name])
    exact, found = (needs.weights(replace(HELD, quantization=each)) for each in ("none", QUANTIZATIONS[0]))
    for part in exact:
        layers = [each for each in getattr(pipe, part).modules() if isinstance(each, torch.nn.Linear)]
        saved = sum(3 * each.weight.numel() - 4 * each.out_features for each in layers)
        assert exact[part] - found[part] == (0 if part == "vae" else saved), part


def test_a_trace_counts_what_lives_at_once() -> None:
    def call() -> None:
        first = torch.empty(1000, device="meta")
        second = first + 1  # two live
        del first
        third = second.view(10, 100) * 2  # two again: a view has no bytes of its own
        del second, third

    assert peak_bytes(call) == 2 * 4000


def test_a_trace_counts_no_weights_of_which_a_layer_makes_views() -> None:
    layer = torch.nn.Linear(1000, 10, bias=False, device="meta")
    assert peak_bytes(lambda: layer(torch.empty(2, 1000, device="meta"))) == 2 * (1000 + 10) * 4


def test_attention_is_traced_without_the_matrix_of_all_pairs() -> None:
    rows = torch.empty(1, 1, 1000, 8, device="meta")
    found = peak_bytes(lambda: torch.nn.functional.scaled_dot_product_attention(rows, key=rows, value=rows))
    assert found == 1000 * 8 * 4


@pytest.mark.slow
def test_a_traced_decoding_holds_at_least_its_largest_layer_and_grows_with_the_image(models: Models) -> None:
    small, large = (
        call_bytes(inspect_model(ModelRef(str(models["sd"])), "cpu"), replace(SAMPLING, height=side, width=side))
        for side in (32, 64)
    )
    channels = AutoencoderKL.load_config(models["sd"] / "vae")["block_out_channels"][0]
    assert small.decoding >= 2 * channels * 32 * 32 * 4
    assert 3 < large.decoding / small.decoding < 5
    assert large.step > small.step > 0
    assert large.tile < large.decoding


WEIGHTS = {"text_encoder": 100, "unet": 1000, "vae": 50}


@pytest.fixture
def needs(monkeypatch: pytest.MonkeyPatch) -> ModelMemory:
    monkeypatch.setattr(ModelMemory, "weights", lambda _self, _held: WEIGHTS)
    monkeypatch.setattr(ModelMemory, "_largest_tensor", 10)
    return ModelMemory({}, CallBytes(step=20, decoding=200, tile=30))


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({}, 1150 + 4 * 200),
        ({"batch_size": 1}, 1150 + 200),
        ({"vae_slicing": True}, 1150 + 200),
        ({"vae_tiling": True}, 1150 + 4 * 30),
        ({"vae_tiling": True, "vae_slicing": True}, 1150 + 4 * 20),
        ({"dtype": "bfloat16"}, 1150 + 2 * 200),
        ({"offload": "model"}, 1000 + 4 * 20),
        ({"offload": "model", "batch_size": 8}, 50 + 8 * 200),
        ({"offload": "group"}, 4 * 200 + 2 * 10 * 4 + 50),
        ({"offload": "sequential"}, 4 * 200 + 10 * 4),
    ],
)
def test_what_is_on_the_device_at_once(needs: ModelMemory, changes: dict, wanted: int) -> None:
    assert needs.on_device(replace(HELD, **changes)) == wanted


def test_a_model_whose_weights_are_not_here_yet_says_nothing(models: Models) -> None:
    model = inspect_model(ModelRef(str(models["sd"])), "cpu")
    assert model_memory(replace(model, variant="fp16"), None) is not None  # the plain ones stand for it
    assert model_memory(replace(model, folder=None), None) is None


def test_the_peak_is_that_of_what_runs_inside() -> None:
    size = 200_000_000
    before = taken_bytes("cpu")
    with peak_of("cpu") as outside:
        pass
    with peak_of("cpu") as inside:
        torch.ones(size, dtype=torch.uint8)
    if outside.num_bytes is None or inside.num_bytes is None:
        pytest.skip("this machine does not tell")
    assert before < (total_bytes("cpu") or 0)
    assert outside.num_bytes < before + size / 2
    assert inside.num_bytes > before + size / 2
