"""The promises of rendering on an NVIDIA GPU, on tiny models and the embedded one. Skipped where there is none."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.bench.machine import SD15, random_pipeline
from darkroom.demo import MODEL_FOLDER
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.engine.spec import best_size, measured_rates
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RendererSpec, load_renderer
from tests.rendering.helpers import SAMPLING, requests
from tests.rendering.test_renderer import check_that_images_stand_alone

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
DTYPES = ("float32", "bfloat16", "float16", "float8")
SIDES = {"sd": 16, "sdxl": 16, "sd3": 16, "demo": 64}


def spec(models: dict[str, Path], name: str, dtype: str = "bfloat16", batch_size: int = 4, **options) -> RendererSpec:
    folder = MODEL_FOLDER if name == "demo" else models[name]
    return RendererSpec(inspect_model(ModelRef(str(folder), dtype=dtype), DEVICE), DEVICE, batch_size, **options)


def load(models: dict[str, Path], name: str, dtype: str = "bfloat16", **options) -> DiffusersRenderer:
    return load_renderer(spec(models, name, dtype, **options))  # type: ignore[return-value]


def sampling(name: str, **changes) -> Sampling:
    return replace(SAMPLING, width=SIDES[name], height=SIDES[name], **changes)


def pixels(renderer: DiffusersRenderer, wanted: Sampling, count: int = 4) -> np.ndarray:
    images = renderer.render(requests(count, wanted))
    assert [image.error for image in images] == [None] * count
    return np.stack([image.pixels for image in images]).astype(int)


@pytest.mark.parametrize("name", list(SIDES))
@pytest.mark.parametrize("dtype", DTYPES)
def test_an_image_depends_on_neither_place_nor_neighbours_nor_tail(
    models: dict[str, Path], name: str, dtype: str
) -> None:
    check_that_images_stand_alone(load(models, name, dtype), requests(4, sampling(name)))


@pytest.mark.parametrize("name", ["sd", "sdxl", "demo"])
@pytest.mark.parametrize("other", [{"guidance_stop": 0.5}, {"cache_interval": 2}, {"guidance_scale": 1.0}])
def test_nor_does_it_with_other_settings(models: dict[str, Path], name: str, other: dict) -> None:
    wanted = sampling(name, num_inference_steps=4, **other)
    check_that_images_stand_alone(load(models, name), requests(4, wanted))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(SIDES))
def test_nor_does_it_compiled(models: dict[str, Path], name: str) -> None:
    check_that_images_stand_alone(load(models, name, compile=True), requests(4, sampling(name)))


@pytest.mark.parametrize("name", list(SIDES))
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_fresh_renderer_makes_the_same_bytes(models: dict[str, Path], name: str, dtype: str) -> None:
    one, other = (pixels(load(models, name, dtype), sampling(name)) for _ in range(2))
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ["sd", "sdxl", "demo"])
def test_in_float32_the_picture_is_the_cpus(models: dict[str, Path], name: str) -> None:
    on_cpu = replace(spec(models, name, "float32"), device="cpu")
    expected = pixels(load_renderer(on_cpu), sampling(name))  # type: ignore[arg-type]
    assert np.abs(pixels(load(models, name, "float32"), sampling(name)) - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, {"cache_interval": 2}, {"guidance_stop": 0.5}])
def test_a_compiled_model_renders_the_same_picture(models: dict[str, Path], changes: dict) -> None:
    wanted = sampling("demo", num_inference_steps=4, **changes)
    eager, compiled = (pixels(load(models, "demo", "float32", compile=on), wanted) for on in (False, True))
    assert np.abs(eager - compiled).max() <= 2


@pytest.mark.parametrize("name", ["sd", "sd3", "demo"])
def test_float8_is_near_bfloat16(models: dict[str, Path], name: str) -> None:
    float8, exact = (pixels(load(models, name, dtype), sampling(name)) for dtype in ("float8", "bfloat16"))
    assert 0 < np.abs(float8 - exact).mean() < 16


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_decoder_that_overflows_in_float16_decodes_in_float32(models: dict[str, Path], compiled: bool) -> None:
    half, exact = spec(models, "sd", "float16", compile=compiled), spec(models, "sd", "float32")
    loaded, loaded_exact = load_pipeline(half), load_pipeline(exact)
    for each in (loaded, loaded_exact):
        each.pipe.vae.post_quant_conv.weight.data.mul_(30_000)  # finite itself; what it makes is beyond 65504
    images = DiffusersRenderer(loaded, half).render(requests(2))
    assert [image.error for image in images] == [None, None]
    assert loaded.pipe.vae.dtype == torch.float16
    found = np.stack([image.pixels for image in images]).astype(int)
    assert np.abs(found - pixels(DiffusersRenderer(loaded_exact, exact), SAMPLING, 2)).max() <= 8


@pytest.fixture
def whole_memory() -> Iterator[None]:
    yield
    torch.cuda.set_per_process_memory_fraction(1.0)


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_memory_that_runs_out_halves_the_batch_and_comes_back(
    models: dict[str, Path], whole_memory: None, compiled: bool
) -> None:
    wanted = replace(SAMPLING, num_inference_steps=1, width=256, height=256)
    few = peak_bytes(models, wanted, 2, compiled)
    many = peak_bytes(models, wanted, 8, compiled)
    renderer = load(models, "sd", batch_size=8, compile=compiled)
    let_go()
    limit = (few + many) / 2
    torch.cuda.set_per_process_memory_fraction(limit / torch.cuda.get_device_properties(0).total_memory)
    images = renderer.render(requests(8, wanted))
    assert [image.error for image in images] == [None] * 8
    assert {image.batch_size for image in images} <= {2, 4}
    torch.cuda.set_per_process_memory_fraction(1.0)
    sizes = [renderer.render(requests(8, wanted))[0].batch_size for _ in range(20)]
    assert sizes[-1] == 8


def peak_bytes(models: dict[str, Path], wanted: Sampling, batch_size: int, compiled: bool) -> int:
    """What tensors take at most while such a batch is rendered, the model included."""
    renderer = load(models, "sd", batch_size=batch_size, compile=compiled)
    let_go()
    torch.cuda.reset_peak_memory_stats()
    pixels(renderer, wanted, batch_size)
    return torch.cuda.max_memory_allocated()


def let_go() -> None:
    gc.collect()
    torch.cuda.empty_cache()


def test_a_batch_size_is_found(models: dict[str, Path]) -> None:
    rates = measured_rates(spec(models, "demo"), sampling("demo"))
    assert list(rates)[:2] == [1, 2]
    assert best_size(rates) > 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stable Diffusion 1.5 with random weights: cuDNN takes other kernels for it than for tiny models."""
    folder = tmp_path_factory.mktemp("large") / "sd15"
    random_pipeline(SD15, DEVICE, torch.bfloat16).save_pretrained(folder)
    return {"sd15": folder}


LARGE = Sampling("default", 8.0, 2, SD15.side, SD15.side)


@pytest.mark.slow
@pytest.mark.parametrize("compiled", [False, True])
def test_at_a_real_size_an_image_in_its_place_depends_on_no_neighbour(large: dict[str, Path], compiled: bool) -> None:
    renderer, wanted = load(large, "sd15", batch_size=8, compile=compiled), requests(8, LARGE)
    together = pixels(renderer, LARGE, 8)
    for place in (0, 3, 7):
        beside_itself = renderer.render([wanted[place]] * 8)[place].pixels
        np.testing.assert_array_equal(together[place], beside_itself)


@pytest.mark.slow
@pytest.mark.xfail(reason="of some 3x3 convolutions cuDNN divides the last rows' sums among processors", strict=False)
def test_at_a_real_size_an_image_does_not_depend_on_its_place(large: dict[str, Path]) -> None:
    check_that_images_stand_alone(load(large, "sd15", batch_size=8), requests(8, LARGE))


LOST = """
import sys
from pathlib import Path
import torch
from darkroom.bench.darkroom_run import local_dispatcher, render_job
from darkroom.bench.figure import Setting
from darkroom.bench.work import demo_work
from darkroom.domain.errors import TryAgain
from darkroom.rendering import diffusion

folder = Path(sys.argv[1])
setting = Setting(folder, 0.1, 1, "cuda", 1, (), print)
draw_noise, calls = diffusion.draw_noise, []

def draw_noise_on_a_device_that_is_lost(pipe, generators, height, width):
    calls.append(len(generators))
    if len(calls) == 2:
        torch.zeros(4, device="cuda")[torch.tensor([9], device="cuda")]
    return draw_noise(pipe, generators, height, width)

diffusion.draw_noise = draw_noise_on_a_device_that_is_lost
try:
    render_job(demo_work(setting, 64), folder / "run", local_dispatcher)
except TryAgain as error:
    print("lost:", error)
    print("calls:", len(calls))
"""


def test_a_lost_device_ends_the_job_and_what_was_committed_stays(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOST, str(tmp_path)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert "lost: the device was lost (CUDA error: device-side assert" in ended.stdout
    assert "calls: 2" in ended.stdout
    assert len(list((tmp_path / "run").rglob("*.parquet"))) == 1
