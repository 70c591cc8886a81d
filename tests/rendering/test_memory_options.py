"""Quantized models, tiling and slicing of VAEs: what they change, and what is said where they cannot act."""

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import QUANTIZATIONS, ModelRef
from darkroom.rendering import memory_options
from darkroom.rendering.diffusion import DiffusersRenderer
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.memory import Held, model_memory
from darkroom.rendering.memory_options import (
    check_quantization,
    check_vae,
    quantization_config,
    quantized_parts,
    tile_side,
)
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RendererSpec, load_renderer
from tests.rendering.helpers import SAMPLING, Models, largest_difference, load, pixels, requests
from tests.rendering.tiny_loras import tiny_lora

INT8 = QUANTIZATIONS[0]
needs_torchao = pytest.mark.skipif(find_spec("torchao") is None, reason="needs the extra darkroom[quantization]")
LARGE = replace(SAMPLING, height=64, width=64)
VAE = {"_class_name": "AutoencoderKL", "sample_size": 32}


def quantized(models: Models, name: str, how: str, **ref: object) -> tuple[DiffusersRenderer, object]:
    model = inspect_model(ModelRef(str(models[name]), quantization=how, **ref), "cpu")  # type: ignore[arg-type]
    spec = RendererSpec(model, "cpu", 4)
    loaded = load_pipeline(spec)
    return DiffusersRenderer(loaded, spec), loaded.pipe


@needs_torchao
@pytest.mark.parametrize("how", QUANTIZATIONS)
@pytest.mark.parametrize("name", ["sd", "sd3"])
def test_images_are_near_the_exact_ones_and_alone_in_their_batch(models: Models, name: str, how: str) -> None:
    renderer, _ = quantized(models, name, how)
    found, exact = pixels(renderer), pixels(load(models, name))
    assert 0 < largest_difference(found, exact) < 40
    assert largest_difference(found, pixels(renderer)) == 0
    assert largest_difference(found[:1], pixels(renderer, count=1)) == 0


@needs_torchao
def test_linear_layers_of_denoiser_and_text_encoders_are_quantized_and_take_what_is_estimated(models: Models) -> None:
    model = inspect_model(ModelRef(str(models["sd"]), quantization=INT8), "cpu")
    pipe = load_pipeline(RendererSpec(model, "cpu", 4), ()).pipe
    for name, is_quantized in (("unet", True), ("text_encoder", True), ("vae", False)):
        layers = [each for each in getattr(pipe, name).modules() if isinstance(each, torch.nn.Linear)]
        assert layers
        assert {hasattr(each.weight, "__tensor_flatten__") for each in layers} == {is_quantized}
    memory = model_memory(inspect_model(ModelRef(str(models["sd"])), "cpu"), None)
    assert memory
    held = [tensor for each in pipe.unet.parameters() for tensor in _inner(each)]
    wanted = memory.weights(Held("float32", 1, quantization=INT8))["unet"]
    assert sum(each.nbytes for each in held) == pytest.approx(wanted, rel=0.02)


def _inner(tensor: torch.Tensor) -> list[torch.Tensor]:
    if not hasattr(tensor, "__tensor_flatten__"):
        return [tensor]
    found = [getattr(tensor, name) for name in tensor.__tensor_flatten__()[0]]
    return [each for each in found if isinstance(each, torch.Tensor)]


@needs_torchao
def test_loras_are_switched_beside_quantized_layers(models: Models, tmp_path: object) -> None:
    file = tiny_lora(models["sd"], tmp_path)  # type: ignore[arg-type]
    renderer, _ = quantized(models, "sd", INT8, loras=(LoraRef(str(file)),))
    [part] = inspect_model(ModelRef(str(models["sd"]), loras=(LoraRef(str(file)),)), "cpu").parts

    def made(weight: float | None) -> np.ndarray:
        active = () if weight is None else ((part.part.revision, weight),)
        found = renderer.render([replace(each, adapters=active) for each in requests(2)])
        return np.stack([image.pixels for image in found if image.pixels is not None])

    without, strong = made(None), made(1.0)
    assert not np.array_equal(without, strong)
    assert np.array_equal(without, made(None))
    assert np.array_equal(without, np.stack(pixels(quantized(models, "sd", INT8)[0], count=2)))


@needs_torchao
def test_every_setting_has_a_configuration_of_the_package(models: Models) -> None:
    index = json.loads((models["sd3"] / "model_index.json").read_text())
    for each in QUANTIZATIONS:
        assert set(quantization_config(each, models["sd3"]).quant_mapping) == set(quantized_parts(index))


def test_a_missing_package_is_named_before_anything_is_loaded(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_options, "find_spec", lambda _name: None)
    with pytest.raises(DarkroomError, match=r"needs the package torchao; run `pip install 'darkroom\[quantization\]'`"):
        inspect_model(ModelRef(str(models["sd"]), quantization=INT8), "cpu")
    assert inspect_model(ModelRef(str(models["sd"])), "cpu").identity.lossy == {}


def test_what_cannot_be_quantized_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_options, "find_spec", lambda _name: object())
    index = {"_class_name": "SomePipeline", "unet": ["diffusers", "UNet"], "text_encoder": [None, None]}
    check_quantization(ModelRef("m", quantization=INT8), index)
    with pytest.raises(DarkroomError, match="float8 quantizes the same layers"):
        check_quantization(ModelRef("m", quantization=INT8, dtype="float8"), index)
    with pytest.raises(DarkroomError, match="m has no component that can be quantized"):
        check_quantization(ModelRef("m", quantization=INT8), {"unet": ["some_code", "UNet"]})


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
