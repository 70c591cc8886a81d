"""GGUF files, with the optional package gguf: the pixels of their numbers, what they take, and what is refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from darkroom.domain.adapters import GGUF, LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering import other_parts
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.memory import Held, model_memory
from darkroom.rendering.renderer import Renderer, RendererSpec, load_renderer
from tests.rendering.helpers import largest_difference, pixels, requests
from tests.rendering.tiny_families import tiny
from tests.rendering.tiny_loras import tiny_lora
from tests.rendering.tiny_models import tiny_flux, tiny_sd

WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"
SAMPLING = Sampling("default", 0.0, 2, 32, 32)


def written(folder: Path, file: Path, kind: str = "Q8_0") -> dict[str, torch.Tensor]:
    """The transformer of the model in `folder` as a GGUF file, whose quantized numbers are returned."""
    gguf = pytest.importorskip("gguf", reason="needs the extra darkroom[gguf]")
    quantized_as = gguf.GGMLQuantizationType[kind]
    writer, found = gguf.GGUFWriter(file, "flux"), {}
    for name, tensor in load_file(folder / WEIGHTS).items():
        values = tensor.float().numpy()
        if name.endswith(".weight") and values.ndim == 2 and values.shape[1] % 32 == 0:  # of a linear layer
            packed = gguf.quants.quantize(values, quantized_as)
            writer.add_tensor(name, packed, raw_dtype=quantized_as)
            values = gguf.quants.dequantize(packed, quantized_as)
        else:
            writer.add_tensor(name, values)
        found[name] = torch.from_numpy(values.copy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def inspected(folder: Path, **ref: Any) -> InspectedModel:
    return inspect_model(ModelRef(str(folder), **ref), "cpu")


def loaded(model: InspectedModel) -> Renderer:
    return load_renderer(RendererSpec(model, "cpu", 4))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["flux_dev", "sd3", "qwen", "z_image"])
@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_the_pixels_are_those_of_its_numbers(tmp_path: Path, tiny_model: Any, name: str, kind: str) -> None:
    model = Path(shutil.copytree(tiny_model(name), tmp_path / "model"))
    numbers = written(model, tmp_path / "mine.gguf", kind)
    exact = pixels(loaded(inspected(model)), SAMPLING)
    quantized = loaded(inspected(model, gguf=str(tmp_path / "mine.gguf")))
    found = pixels(quantized, SAMPLING)
    assert largest_difference(found[:1], pixels(quantized, SAMPLING, 1)) == 0
    save_file(numbers, model / WEIGHTS)
    assert largest_difference(found, pixels(loaded(inspected(model)), SAMPLING)) <= 1
    assert largest_difference(found, exact) > 0


@pytest.mark.slow
def test_it_is_of_the_models_identity_lossy_and_takes_what_is_estimated(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "model")
    written(folder, tmp_path / "mine.gguf")
    plain, model = inspected(folder), inspected(folder, gguf=str(tmp_path / "mine.gguf"))
    [part] = model.identity.parts
    assert (part.kind, part.name) == (GGUF, "mine")
    cell = Cell(model.identity, SAMPLING)
    assert cell.lossy == {"gguf": str(part)}
    assert [each.cell_id for each in cell.lossless] == [Cell(plain.identity, SAMPLING).cell_id]
    memory, without = model_memory(model, None), model_memory(plain, None)
    assert memory
    assert without
    held = Held("float32", 1)
    taken, usual = (each.weights(held)["transformer"] for each in (memory, without))
    assert taken < 0.6 * usual
    (folder / WEIGHTS).unlink()  # which are not needed
    assert len(pixels(loaded(inspected(folder, gguf=str(tmp_path / "mine.gguf"))), SAMPLING)) == 3


@pytest.mark.slow
def test_loras_work_beside_it(tmp_path: Path) -> None:
    folder = tiny_flux(tmp_path / "model")
    written(folder, tmp_path / "mine.gguf")
    lora, file = tiny_lora(folder, tmp_path / "lora"), str(tmp_path / "mine.gguf")
    model = inspected(folder, gguf=file, loras=(LoraRef(str(lora)),))
    renderer = loaded(replace(model, identity=model.identity.base))
    without = requests(3, SAMPLING)
    with_lora = [replace(each, adapters=((model.identity.loras[0].revision, 1.0),)) for each in without]
    first, changed, again = (renderer.render(each) for each in (without, with_lora, without))
    assert all((one.pixels != two.pixels).any() for one, two in zip(first, changed, strict=True))
    assert all((one.pixels == two.pixels).all() for one, two in zip(first, again, strict=True))


@pytest.mark.slow
def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    folder, other = tiny_flux(tmp_path / "model"), tiny("qwen", tmp_path / "other")
    written(other, tmp_path / "other.gguf")
    (tmp_path / "text.gguf").write_text("no weights")
    (tmp_path / "mine.safetensors").write_text("")
    for path, said in (
        ("text.gguf", "cannot be read as GGUF"),
        ("none.gguf", "no such file; give a .gguf file"),
        ("mine.safetensors", "no such file; give a .gguf file"),
    ):
        with pytest.raises(DarkroomError, match=f"model.gguf={tmp_path / path}:? {said}"):
            inspected(folder, gguf=str(tmp_path / path))
    with pytest.raises(DarkroomError, match=r"model\.dtype=float8 is of the same layers"):
        inspected(folder, gguf=str(tmp_path / "other.gguf"), dtype="float8")
    with pytest.raises(
        DarkroomError, match=r"is not read as a FluxTransformer2DModel \(.*give a file that was made"
    ) as e:
        loaded(inspected(folder, gguf=str(tmp_path / "other.gguf")))
    assert "\n" not in str(e.value)


def test_a_missing_package_is_named_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_parts, "find_spec", lambda _name: None)
    with pytest.raises(DarkroomError, match=r"needs the package gguf; run `pip install 'darkroom\[gguf\]'`"):
        inspected(tiny_sd(tmp_path / "model"), gguf="mine.gguf")
