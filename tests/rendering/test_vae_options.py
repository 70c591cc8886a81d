"""Tiling and slicing: slicing leaves images as they are, tiling does not; both are refused where they cannot act."""

from dataclasses import replace

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec, load_renderer
from darkroom.rendering.vae_options import check_vae, tile_side
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load, pixels

LARGE = replace(SAMPLING, height=64, width=64)
VAE = {"_class_name": "AutoencoderKL", "sample_size": 32}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_slicing_keeps_images_and_tiling_changes_large_ones(models: Models, name: str) -> None:
    plain = load(models, name)

    def with_options(**options: bool) -> list:
        model = inspect_model(ModelRef(str(models[name]), **options), "cpu")
        renderer = load_renderer(RendererSpec(model, "cpu", 4))
        assert set(options) <= set(renderer.info.patches)
        return pixels(renderer, LARGE)

    assert largest_difference(with_options(vae_slicing=True), pixels(plain, LARGE)) <= 1
    assert largest_difference(with_options(vae_tiling=True), pixels(plain, LARGE)) > 1


def test_tiles_are_as_large_as_the_vae_was_trained_for() -> None:
    assert tile_side(VAE) == 32
    assert tile_side({"_class_name": "AutoencoderKLQwenImage"}) == 256
    assert tile_side({}) is None


@pytest.mark.parametrize(
    ("config", "says"),
    [({}, "has no VAE and so cannot do this"), ({"_class_name": "VQModel"}, "VQModel, cannot do this; leave it out")],
)
@pytest.mark.parametrize("name", ["vae_tiling", "vae_slicing"])
def test_a_vae_that_cannot_is_refused(config: dict, says: str, name: str) -> None:
    check_vae(ModelRef("m", **{name: True}), VAE)
    check_vae(ModelRef("m"), config)
    with pytest.raises(DarkroomError, match=f"model.{name}=true: .*{says}"):
        check_vae(ModelRef("m", **{name: True}), config)
