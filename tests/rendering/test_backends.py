"""Which backend computes a model, and its attention; where one cannot be, that is said before anything is loaded."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering import backends
from darkroom.rendering.backends import BACKENDS, backend_of, openvino_version
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RendererSpec, load_renderer, paint_model
from tests.rendering.helpers import Models, largest_difference, pixels
from tests.rendering.tiny_families import tiny
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_flux, tiny_sd, tiny_sd3

SAMPLING = Sampling("default", 0.0, 2, 32, 32)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_openvino_is_taken_where_it_can(models: Models, name: str) -> None:
    model = inspect_model(ModelRef(str(models[name])), "cpu")
    assert [backend_of(asked, model, "cpu") for asked in BACKENDS] == ["openvino", "torch", "openvino"]


def refused(model: InspectedModel, device: str = "cpu", is_compiled: bool = False) -> str:
    """Why it is refused by name, and is torch by itself."""
    assert backend_of("auto", model, device, is_compiled) == backend_of("torch", model, device, is_compiled) == "torch"
    with pytest.raises(DarkroomError) as caught:
        backend_of("openvino", model, device, is_compiled)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix("engine.backend=openvino: ")


def test_each_reason_against_it_is_said_with_its_remedy(models: Models, tmp_path: Path, monkeypatch) -> None:
    ref = ModelRef(str(models["sd"]))
    model = inspect_model(ref, "cpu")
    assert refused(model, "cuda") == (
        "it computes on CPUs, and the device is cuda; leave it out, or give engine.device=cpu"
    )
    assert "engine.compile=true" in refused(model, is_compiled=True)
    assert refused(inspect_model(replace(ref, dtype="bfloat16"), "cpu")).endswith("give model.dtype=float32")
    quantized = replace(model, identity=replace(model.identity, quantization="torchao_int8_weight_only"))
    assert "model.quantization=torchao_int8_weight_only" in refused(quantized)
    lora = tiny_lora(models["sd"], tmp_path / "lora")
    assert "model.loras" in refused(inspect_model(replace(ref, loras=(LoraRef(str(lora)),)), "cpu"))
    assert "has none" in refused(inspect_model(ModelRef(str(models["sd3"])), "cpu"))
    assert "has none" in refused(paint_model())
    monkeypatch.setattr(backends, "OPENVINO", "no-such-package")
    assert openvino_version() is None
    assert backend_of("auto", model, "cpu") == "torch"
    with pytest.raises(DarkroomError, match=r"needs the package .*; run `pip install 'darkroom\[openvino\]'`"):
        backend_of("no-such-package", model, "cpu")


def spec(folder: Path, backend: str | None) -> RendererSpec:
    return RendererSpec(inspect_model(ModelRef(str(folder), attention_backend=backend), "cpu"), "cpu", 2)


def attention_backends(pipe: object) -> set[str | None]:
    processors = (getattr(module, "processor", None) for module in pipe.transformer.modules())  # type: ignore[attr-defined]
    return {getattr(each, "_attention_backend", None) for each in processors if each is not None}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flux_dev", "qwen"])
def test_a_backend_is_the_models_own_and_makes_the_same_picture(tmp_path: Path, name: str) -> None:
    folder = tiny(name, tmp_path / "model")
    plain, chosen = load_pipeline(spec(folder, None)), load_pipeline(spec(folder, "_native_math"))
    assert (attention_backends(plain.pipe), attention_backends(chosen.pipe)) == ({None}, {"_native_math"})
    assert "attention_backend" in chosen.patches.names
    assert _AttentionBackendRegistry.get_active_backend()[0] == "native"
    made = [pixels(load_renderer(spec(folder, each)), SAMPLING, 2) for each in (None, "_native_math", None)]
    assert largest_difference(made[0], made[1]) <= 1
    assert np.array_equal(made[0], made[2])


@pytest.mark.parametrize(
    ("folder_of", "backend", "said"),
    [
        (tiny_flux, "flash", r"attention_backend=flash: .*install `flash-attn"),
        (tiny_flux, "flash_hub", r"attention_backend=flash_hub: .*`kernels`"),
        (tiny_flux, "quick", "attention_backend=quick: no backend 'quick'; there are flash, "),
        (tiny_flux, "nativ", "no backend 'nativ'; did you mean native"),
        (tiny_flux, "_native_cudnn", "attention_backend=_native_cudnn: does not compute on this device, cpu"),
        (
            tiny_sd,
            "native",
            "the denoiser of StableDiffusionPipeline computes its attention in one way alone; leave it",
        ),
        (tiny_sd3, "native", "the denoiser of StableDiffusion3Pipeline computes its attention in one way alone"),
    ],
)
def test_what_cannot_be_used_is_refused_in_a_line(
    tmp_path: Path, folder_of: Callable[[Path], Path], backend: str, said: str
) -> None:
    with pytest.raises(DarkroomError, match=said) as found:
        spec(folder_of(tmp_path / "model"), backend)
    assert "\n" not in str(found.value)


def test_it_is_part_of_what_an_image_is(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "model")
    plain, chosen = (spec(folder, each).model.identity for each in (None, "_native_math"))
    assert (plain.lossy, chosen.lossy) == ({}, {"attention_backend": "_native_math"})
    assert chosen.numbers == "float32, _native_math"
