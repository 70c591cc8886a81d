"""Which backend computes a model, and what is said where OpenVINO cannot."""

from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering import backends
from darkroom.rendering.backends import BACKENDS, backend_of, openvino_version
from darkroom.rendering.inspection import InspectedModel, inspect_model
from darkroom.rendering.renderer import paint_model
from tests.rendering.helpers import Models
from tests.rendering.tiny_loras import tiny_lora


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
