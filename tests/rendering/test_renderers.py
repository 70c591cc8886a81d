"""One contract for every renderer, and what diffusers models do beyond it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from darkroom.domain.requests import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.loading import load_renderer
from darkroom.rendering.paint import paint_model
from darkroom.rendering.renderer import FatalDeviceError, Renderer
from darkroom.rendering.spec import RendererSpec
from tests.rendering.tiny_models import tiny_sd

SAMPLING = Sampling("default", 4.0, 3, 16, 16)


def load(models: dict[str, Path], name: str, batch_size: int = 4, dtype: str = "auto", **options) -> Renderer:
    model = paint_model() if name == "paint" else inspect_model(ModelRef(str(models[name]), dtype=dtype), "cpu")
    return load_renderer(RendererSpec(model, "cpu", batch_size, **options))


def requests(count: int, sampling: Sampling = SAMPLING) -> list[ImageRequest]:
    return [ImageRequest(f"{n:02}", f"a red circle {n}", 100 + n, sampling) for n in range(count)]


@pytest.fixture(params=["paint", "sd", "sdxl", "sd3"])
def renderer(request: pytest.FixtureRequest, models: dict[str, Path]) -> Renderer:
    return load(models, request.param)


def test_pixels_have_the_asked_size_and_differ_with_the_seed(renderer: Renderer) -> None:
    images = renderer.render(requests(3))
    assert [image.error for image in images] == [None] * 3
    assert {(image.pixels.shape, image.pixels.dtype.name) for image in images} == {((16, 16, 3), "uint8")}
    assert len({image.pixels.tobytes() for image in images}) == 3


def test_an_image_depends_on_neither_place_nor_neighbours_nor_tail(renderer: Renderer) -> None:
    check_that_images_stand_alone(renderer, requests(4))


@pytest.mark.parametrize("name", ["sd", "sdxl"])
@pytest.mark.parametrize(
    "other", [{"guidance_stop": 0.5}, {"cache_interval": 2}, {"width": 24}, {"guidance_scale": 1.0}]
)
def test_nor_does_it_with_other_settings(models: dict[str, Path], name: str, other: dict) -> None:
    check_that_images_stand_alone(load(models, name), requests(4, replace(SAMPLING, num_inference_steps=4, **other)))


def test_nor_where_a_model_is_told_its_guidance(tmp_path: Path) -> None:
    folder = tiny_sd(tmp_path, time_cond_proj_dim=16)
    renderer = load({"distilled": folder}, "distilled")
    assert not renderer.info.mixes_guidance  # so that no batch holds two scales
    low, high = (renderer.render(requests(1, replace(SAMPLING, guidance_scale=scale)))[0] for scale in (2.0, 8.0))
    assert not np.array_equal(low.pixels, high.pixels)
    check_that_images_stand_alone(renderer, requests(4))


def check_that_images_stand_alone(renderer: Renderer, wanted: list[ImageRequest]) -> None:
    together = [image.pixels for image in renderer.render(wanted)]
    backwards = [image.pixels for image in renderer.render(wanted[::-1])][::-1]
    alone = [renderer.render([request])[0].pixels for request in wanted]
    assert all(
        np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(together, backwards, alone, strict=True)
    )


def test_a_fresh_renderer_makes_the_same_bytes(renderer: Renderer, models: dict[str, Path], request) -> None:
    again = load(models, request.node.callspec.params["renderer"])
    pairs = zip(renderer.render(requests(2)), again.render(requests(2)), strict=True)
    assert all(np.array_equal(a.pixels, b.pixels) for a, b in pairs)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_pixels_equal_a_plain_pipelines(models: dict[str, Path], name: str) -> None:
    """Our way through cached embeddings and own noise ends where diffusers' own way ends."""
    from diffusers import DiffusionPipeline

    wanted = requests(2)
    ours = [image.pixels.astype(int) for image in load(models, name, batch_size=2).render(wanted)]
    pipe = DiffusionPipeline.from_pretrained(models[name])
    pipe.set_progress_bar_config(disable=True)
    plain = pipe(
        [request.prompt for request in wanted],
        guidance_scale=4.0,
        num_inference_steps=3,
        height=16,
        width=16,
        generator=[torch.Generator().manual_seed(request.seed) for request in wanted],
        output_type="np",
    ).images
    assert np.abs(np.stack(ours) - np.rint(plain * 255)).max() <= 1


def test_cells_of_a_sweep_take_turns_without_traces(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    other = Sampling("euler_a", 7.0, 5, 16, 16, "blue")
    first = renderer.render(requests(2))[0].pixels
    between = renderer.render(requests(2, other))[0].pixels
    assert np.array_equal(renderer.render(requests(2))[0].pixels, first)
    assert np.array_equal(renderer.render(requests(2, other))[0].pixels, between)
    assert not np.array_equal(first, between)


def test_a_prompt_is_encoded_once(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    calls: list[int] = []
    own = renderer._text._encode
    renderer._text._encode = lambda prompts: calls.append(len(prompts)) or own(prompts)
    renderer.render(requests(3))
    renderer.render(requests(3, Sampling("ddim", 2.0, 3, 16, 16)))
    renderer.render(requests(3, Sampling("ddim", 1.0, 3, 16, 16)))
    assert calls == [4, 4]  # three prompts and the negative, each padded to the batch


def test_long_prompts_are_marked(models: dict[str, Path]) -> None:
    long = ImageRequest("0", "word " * 60, 1, SAMPLING)
    assert [image.truncated for image in load(models, "sd").render([long, *requests(1)])] == [True, False]


def test_latents_that_overflow_become_an_error_of_their_image_alone(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    own = renderer._noise
    renderer._noise = lambda *args: own(*args).index_fill(0, torch.tensor([1]), float("nan"))
    images = renderer.render(requests(3))
    assert [image.pixels is None for image in images] == [False, True, False]
    assert "NaN" in images[1].error


def test_half_precision_that_overflows_is_decoded_again_in_float32(models: dict[str, Path]) -> None:
    from darkroom.rendering.decode import decode_latents

    vae = load(models, "sd", dtype="bfloat16")._pipe.vae
    own = type(vae).decode
    dtypes: list[torch.dtype] = []

    def decode(latents, return_dict=False):
        dtypes.append(latents.dtype)
        (image,) = own(vae, latents, return_dict=False)
        return (image * float("nan"),) if latents.dtype == torch.bfloat16 else (image,)

    vae.decode = decode
    with torch.inference_mode():
        assert torch.isfinite(decode_latents(vae, torch.randn(1, 4, 8, 8, dtype=torch.bfloat16))).all()
    assert dtypes == [torch.bfloat16, torch.float32]
    assert vae.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("name", "dtype", "decoded_in"),
    [("sdxl", "float16", "bfloat16"), ("sdxl", "bfloat16", "bfloat16"), ("sd", "float16", "float16")],
)
def test_a_decoder_that_float16_overflows_is_not_run_in_float32(
    models: dict[str, Path], name: str, dtype: str, decoded_in: str
) -> None:
    renderer = load(models, name, 2, dtype)
    seen: list[torch.dtype] = []
    own = renderer._pipe.vae.decode
    renderer._pipe.vae.decode = lambda latents, **options: seen.append(latents.dtype) or own(latents, **options)
    assert [image.error for image in renderer.render(requests(2))] == [None, None]
    assert seen == [getattr(torch, decoded_in)]


def test_an_image_that_overflows_leaves_its_neighbours_as_they_are(models: dict[str, Path]) -> None:
    from darkroom.rendering.decode import decode_latents

    vae = load(models, "sd", dtype="bfloat16")._pipe.vae
    latents = torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    own = type(vae).decode

    def decode(latents, return_dict=False):
        (image,) = own(vae, latents, return_dict=False)
        return (image.index_fill(0, torch.tensor([1]), float("inf")) if latents.dtype == torch.bfloat16 else image,)

    with torch.inference_mode():
        alone = decode_latents(vae, latents)
        vae.decode = decode
        beside = decode_latents(vae, latents)
    assert torch.equal(beside[0], alone[0])
    assert torch.equal(beside[2], alone[2])
    assert torch.isfinite(beside[1]).all()
    assert not torch.equal(beside[1], alone[1])


def test_memory_that_runs_out_halves_the_batch_and_comes_back(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")
    own, sizes = renderer._call, []

    def call(batch):
        sizes.append(len(batch))
        if len(batch) > 2 and len(sizes) < 10:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(batch)

    renderer._call = call
    rendered = [renderer.render(requests(4)) for _ in range(10)]
    assert {image.error for images in rendered for image in images} == {None}
    assert [image.batch_size for image in rendered[0]] == [2] * 4
    assert [image.batch_size for image in rendered[-1]] == [4] * 4
    assert sizes[:3] == [4, 2, 2]
    assert sizes[-1] == 4


def test_no_memory_even_for_one_image_is_that_images_error(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")

    def call(batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    renderer._call = call
    assert all("out of memory" in image.error for image in renderer.render(requests(3)))


def test_a_lost_device_is_fatal(models: dict[str, Path]) -> None:
    renderer = load(models, "sd")

    def call(batch):
        raise RuntimeError("CUDA error: device-side assert triggered")

    renderer._call = call
    with pytest.raises(FatalDeviceError):
        renderer.render(requests(1))


@pytest.mark.slow
def test_a_compiled_model_renders_the_same_picture(models: dict[str, Path]) -> None:
    plain = load(models, "sd").render(requests(1))[0].pixels.astype(int)
    compiled = load(models, "sd", compile=True).render(requests(1))[0].pixels.astype(int)
    assert np.abs(plain - compiled).max() <= 2


def test_rendering_needs_neither_ray_nor_hydra_nor_boto3_nor_pyarrow(models: dict[str, Path]) -> None:
    code = (
        "import sys\n"
        "for name in ('ray', 'hydra', 'omegaconf', 'boto3', 'pyarrow', 'pandas'): sys.modules[name] = None\n"
        "from tests.rendering.test_renderers import *\n"
        f"r = load({{'sd': Path({str(models['sd'])!r})}}, 'sd')\n"
        "assert r.render(requests(1))[0].pixels.shape == (16, 16, 3)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
