"""One contract for every renderer."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.rendering.renderer import Renderer, load_renderer
from tests.rendering.helpers import Models, load, pixels, requests, spec_of


@pytest.fixture(params=["paint", "sd", "sdxl", "sd3"])
def renderer(request: pytest.FixtureRequest, models: Models) -> Renderer:
    return load(models, request.param)


@pytest.mark.slow
def test_pixels_have_the_asked_size_and_differ_with_the_seed(renderer: Renderer) -> None:
    images = renderer.render(requests(3))
    assert [image.error for image in images] == [None] * 3
    assert {(image.pixels.shape, image.pixels.dtype.name) for image in images} == {((16, 16, 3), "uint8")}
    assert len({image.pixels.tobytes() for image in images}) == 3


@pytest.mark.slow
def test_an_image_depends_on_neither_place_nor_neighbours_nor_tail(renderer: Renderer) -> None:
    check_that_images_stand_alone(renderer, requests(4))


def check_that_images_stand_alone(renderer: Renderer, wanted: list) -> None:
    together = [image.pixels for image in renderer.render(wanted)]
    backwards = [image.pixels for image in renderer.render(wanted[::-1])][::-1]
    alone = [renderer.render([request])[0].pixels for request in wanted]
    assert all(
        np.array_equal(a, b) and np.array_equal(a, c) for a, b, c in zip(together, backwards, alone, strict=True)
    )


@pytest.mark.slow
def test_a_new_renderer_makes_the_same_bytes(renderer: Renderer, models: Models, request) -> None:
    other = load(models, request.node.callspec.params["renderer"])
    assert np.array_equal(pixels(renderer, count=2), pixels(other, count=2))


def test_a_corrupt_model_is_refused_in_one_line(models: Models, tmp_path: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(models["sd"], tmp_path / "copy"))
    (folder / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"not weights")
    spec = spec_of({"copy": folder}, "copy")
    with pytest.raises(DarkroomError, match=rf"model\.repo_id={folder}: cannot be loaded .*; copy it anew") as caught:
        load_renderer(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_rendering_needs_neither_ray_nor_hydra_nor_boto3_nor_pyarrow(models: Models) -> None:
    code = (
        "import sys\n"
        "for name in ('ray', 'hydra', 'omegaconf', 'boto3', 'pyarrow', 'pandas'): sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from tests.rendering.helpers import load, requests\n"
        f"r = load({{'sd': Path({str(models['sd'])!r})}}, 'sd')\n"
        "assert r.render(requests(1))[0].pixels.shape == (16, 16, 3)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


@pytest.mark.slow
def test_painting_needs_no_torch() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'diffusers', 'transformers'): sys.modules[name] = None\n"
        "from darkroom.domain.records import ImageRequest\n"
        "from darkroom.domain.settings import Sampling\n"
        "from darkroom.rendering.renderer import RendererSpec, load_renderer, paint_model\n"
        "request = ImageRequest('0', 'a cat', 1, Sampling('default', 4.0, 3, 16, 24))\n"
        "[image] = load_renderer(RendererSpec(paint_model(), 'cpu', 4)).render([request])\n"
        "assert image.pixels.shape == (16, 24, 3)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
