"""UNets computed by OpenVINO: torch's pixels but for rounding, rows that stand alone, and what is kept on the disk."""

import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.demo import MODEL_FOLDER
from darkroom.domain.certificates import PROMISES, Outcome
from darkroom.domain.errors import WrongModel
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering import openvino_unet, patches
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.openvino_unet import Compiler, Miscompiled
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from darkroom.rendering.self_test import self_test
from tests.processes import forks
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load, pixels, requests, spec_of
from tests.rendering.tiny_models import tiny_lcm

FREEU = {f"freeu_{name}": factor for name, factor in {"s1": 0.9, "s2": 0.2, "b1": 1.5, "b2": 1.6}.items()}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "darkroom" / "openvino"


@pytest.fixture
def num_traced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry a call that is compiled and not taken from the cache."""
    seen: list[int] = []
    trace = openvino_unet._traced
    monkeypatch.setattr(openvino_unet, "_traced", lambda *args: seen.append(1) or trace(*args))
    return seen


def both(models: Models, name: str, batch_size: int = 4) -> tuple[Renderer, Renderer]:
    """By OpenVINO, and by torch."""
    return load(models, name, batch_size, backend="openvino"), load(models, name, batch_size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pixels_are_those_of_torch(models: Models, name: str) -> None:
    """Guided, not guided, in some steps only, with rows of their own, and at other sizes."""
    mine, torchs = both(models, name)
    assert mine.info.patches[0] == "openvino"
    assert mine.info.versions["openvino"].startswith("20")
    assert "openvino" not in torchs.info.versions
    for changes in (
        {},
        {"guidance_scale": 1.0},
        {"guidance_start": 0.4, "guidance_stop": 0.9, "num_inference_steps": 5},
        {"negative_prompt": "blue", "scheduler": "euler"},
        {"height": 24, "width": 40},
    ):
        sampling = replace(SAMPLING, **changes)
        assert largest_difference(pixels(mine, sampling), pixels(torchs, sampling)) <= 1, changes
    mixed = [replace(each, sampling=replace(SAMPLING, guidance_scale=2.0 + n)) for n, each in enumerate(requests(4))]
    some, others = ([image.pixels for image in renderer.render(mixed)] for renderer in (mine, torchs))
    assert largest_difference(some, others) <= 1  # type: ignore[arg-type]


@pytest.mark.slow
def test_a_model_that_is_told_its_guidance(tmp_path: Path) -> None:
    mine, torchs = both({"lcm": tiny_lcm(tmp_path / "model")}, "lcm")
    found = [pixels(mine, replace(SAMPLING, guidance_scale=scale)) for scale in (1.5, 8.0)]
    assert largest_difference(found[0], pixels(torchs, replace(SAMPLING, guidance_scale=1.5))) <= 1
    assert largest_difference(*found) > 0


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"cache_interval": 2}, FREEU, {"cache_interval": 2, "guidance_stop": 0.5}])
def test_what_changes_layers_is_computed_by_torch(models: Models, changes: dict, num_traced: list[int]) -> None:
    """Bit by bit, and calls before and after are not."""
    mine, torchs = both(models, "sd")
    sampling = replace(SAMPLING, **changes)
    before = pixels(mine)
    assert np.array_equal(pixels(mine, sampling), pixels(torchs, sampling))
    assert num_traced == [1]
    assert np.array_equal(pixels(mine), before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sdxl", "demo"])
def test_every_promise_holds_as_with_torch(models: Models, name: str) -> None:
    folder = {**models, "demo": MODEL_FOLDER}[name]
    model, sampling = inspect_model(ModelRef(str(folder)), "cpu"), Sampling("default", 3.0, 1, 32, 32)
    renderer = load_renderer(RendererSpec(model, "cpu", 4, backend="openvino"))
    found = {check.promise: check.outcome for check in self_test(renderer, model, sampling)}
    wanted = {n: Outcome.EXACT if promise.is_equality else Outcome.ACTS for n, promise in PROMISES.items()}
    unasked = ("lora_mixing", "compiled", "control_image", "refiner_start")
    assert found == wanted | dict.fromkeys(unasked, Outcome.UNTAKEN)


@pytest.mark.slow
@pytest.mark.parametrize("num_threads", [1, 2])
def test_rows_do_not_depend_on_one_another(models: Models, num_threads: int) -> None:
    renderer = load(models, "sd", backend="openvino", num_threads=num_threads)
    rows = requests(4)
    first = [image.pixels for image in renderer.render(rows)]
    assert np.array_equal(first, [image.pixels for image in renderer.render(rows[::-1])][::-1])
    others = [rows[0], *(replace(each, seed=each.seed + 9, prompt="x") for each in rows[1:])]
    assert np.array_equal(renderer.render(others)[0].pixels, first[0])
    assert np.array_equal(renderer.render(rows[:1])[0].pixels, first[0])


def _made_in_a_process(model: Path) -> tuple[int, bytes]:
    """(calls that were compiled, pixels)."""
    count: list[int] = []
    trace = openvino_unet._traced
    openvino_unet._traced = lambda *args: count.append(1) or trace(*args)  # in a process that makes nothing else
    found = pixels(load({"sd": model}, "sd", backend="openvino"))
    return len(count), b"".join(each.tobytes() for each in found)


@pytest.mark.slow
def test_processes_make_the_same_bytes_compiled_or_taken_from_the_cache(models: Models, cache: Path) -> None:
    with forks(2) as pool:
        made = pool.map(_made_in_a_process, [models["sd"]] * 2, chunksize=1)
        made.append(pool.apply(_made_in_a_process, (models["sd"],)))
    assert len({found for _, found in made}) == 1
    assert made[-1][0] == 0
    [kept] = cache.iterdir()
    assert kept.stat().st_size > 10_000


@pytest.mark.slow
def test_what_is_damaged_is_made_anew(models: Models, cache: Path, num_traced: list[int]) -> None:
    wanted = pixels(load(models, "sd", backend="openvino"))
    [kept] = cache.iterdir()
    whole = kept.read_bytes()
    for spoiled in (b"", whole[: len(whole) // 2], whole[:-1] + bytes([whole[-1] ^ 1])):
        kept.write_bytes(spoiled)
        assert np.array_equal(pixels(load(models, "sd", backend="openvino")), wanted)
        assert kept.read_bytes()[:32] == whole[:32] or len(kept.read_bytes()) > 10_000
    assert num_traced == [1] * 4
    pixels(load(models, "sd", backend="openvino"))
    assert num_traced == [1] * 4


def test_another_number_of_threads_another_model_and_another_shape_are_kept_apart(cache: Path) -> None:
    layer, inputs = torch.nn.Linear(3, 2).requires_grad_(False), [torch.ones(2, 3)]
    for compiler in (Compiler("a", 24, 1), Compiler("b", 24, 1), Compiler("a", 24, 2)):
        found = compiler.compiled(layer, inputs, None)(inputs)
        assert torch.allclose(found, layer(inputs[0]), atol=1e-6)
    Compiler("a", 24, 1).compiled(layer, [torch.ones(4, 3)], None)
    Compiler("a", 24, 1).compiled(layer, inputs, "how")
    assert len(list(cache.iterdir())) == 5


def test_a_large_module_is_not_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_unet, "_LARGEST_KEPT_BYTES", 10)
    Compiler("a", 24, 1).compiled(torch.nn.Linear(3, 2).requires_grad_(False), [torch.ones(2, 3)], None)
    assert not cache.exists()


def test_a_result_that_is_not_torchs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = torch.nn.Linear(3, 2).requires_grad_(False)
    trace = openvino_unet._traced
    monkeypatch.setattr(openvino_unet, "_traced", lambda _module, inputs: trace(wrong, inputs))
    with pytest.raises(Miscompiled, match=r"^engine.backend=openvino: on this CPU .*; give engine.backend=torch$"):
        Compiler("a", 24, 1).compiled(torch.nn.Linear(3, 2).requires_grad_(False), [torch.ones(2, 3)], None)


@pytest.mark.slow
def test_few_compiled_calls_are_held_of_a_large_model(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_unet, "_MOST_HELD_BYTES", 0)
    made: list[openvino_unet.OpenVinoUnet] = []
    init = openvino_unet.OpenVinoUnet.__init__
    monkeypatch.setattr(
        openvino_unet.OpenVinoUnet, "__init__", lambda self, *args: made.append(self) or init(self, *args)
    )
    renderer = load(models, "sd", backend="openvino")
    first = pixels(renderer)
    for side in (8, 24, 32):
        pixels(renderer, replace(SAMPLING, height=side, width=side))
    assert len(made[0]._calls) == 2
    assert np.array_equal(pixels(renderer), first)


def test_a_machine_without_it_or_with_another_version_is_named(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    other = spec_of(models, "sd", backend="openvino", openvino_version="2026.1")
    has = rf"^engine\.backend=openvino: {platform.node()} has openvino"
    with pytest.raises(
        WrongModel, match=rf"{has} 20\S+ and not 2026\.1, with which this job was started; install it there, "
    ):
        load_renderer(other)
    monkeypatch.setattr(patches, "openvino_version", lambda: None)
    with pytest.raises(WrongModel, match=rf"{has} missing; install it there, or give engine\.backend=torch$"):
        load_renderer(spec_of(models, "sd", backend="openvino"))
