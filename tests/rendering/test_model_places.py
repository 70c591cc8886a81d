"""Configurations that come along: true to the published models, found by a checkpoint's tensors, and of use
offline.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import diffusers
import pytest
import torch
import transformers
from safetensors.torch import save_file

from darkroom.api.models import located
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.model_places import CONFIGURATIONS, configuration_folder, configuration_of

# Numbers of parameters of the published models.
PARAMETERS = {
    "darkroom/sd15": {"unet": 859_520_964, "vae": 83_653_863, "text_encoder": 123_060_480},
    "darkroom/sd21": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "darkroom/sd21-base": {"unet": 865_910_724, "vae": 83_653_863, "text_encoder": 340_387_840},
    "darkroom/sdxl": {
        "unet": 2_567_463_684,
        "vae": 83_653_863,
        "text_encoder": 123_060_480,
        "text_encoder_2": 694_659_840,
    },
}
INPUT = "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight"
OUTPUT = "model.diffusion_model.output_blocks.11.0.skip_connection.weight"
SDXL = "conditioner.embedders.1.model.transformer.resblocks.9.mlp.c_proj.bias"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "darkroom" / "configurations"


def checkpoint(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> str:
    save_file({name: torch.zeros(shape) for name, shape in shapes.items()}, path)
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_they_are_of_the_published_sizes(name: str) -> None:
    folder = configuration_folder(name)
    index = json.loads((folder / "model_index.json").read_text())
    assert hasattr(diffusers, index["_class_name"])
    found = {}
    for component, (library, kind) in present(index).items():
        class_of = getattr(diffusers if library == "diffusers" else transformers, kind)
        if issubclass(class_of, torch.nn.Module):
            with torch.device("meta"):
                found[component] = sum(each.numel() for each in empty(class_of, folder / component).parameters())
        else:
            class_of.from_pretrained(folder / component)
    assert found == PARAMETERS[name]


def present(index: Mapping[str, object]) -> dict[str, list[str]]:
    """Component -> library and class."""
    return {name: value for name, value in index.items() if isinstance(value, list) and value[0]}


def empty(kind: type, folder: Path) -> torch.nn.Module:
    """Without weights."""
    if hasattr(kind, "config_class"):
        return kind(kind.config_class.from_pretrained(folder))
    return kind.from_config(kind.load_config(folder))  # type: ignore[attr-defined]


@pytest.mark.slow
@pytest.mark.parametrize("pad", ["tokenizer", "tokenizer_2"])
def test_tokens_are_those_of_clip(pad: str) -> None:
    tokenizer = transformers.CLIPTokenizer.from_pretrained(configuration_folder("darkroom/sdxl") / pad)
    assert len(tokenizer) == 49_408
    found = tokenizer(["a photo of a cat", "Naïve café — 100%"], padding="max_length", truncation=True).input_ids
    assert found[0][:8] == [49406, 320, 1125, 539, 320, 2368, 49407, 0 if pad == "tokenizer_2" else 49407]
    assert [len(each) for each in found] == [77, 77]
    assert tokenizer.decode(found[1], skip_special_tokens=True) == "naïve café — 1 0 0 %"


def test_damage_in_the_cache_is_mended(cache: Path) -> None:
    folder = configuration_folder("darkroom/sd15")
    before = (folder / "unet" / "config.json").read_text()
    (folder / "unet" / "config.json").write_text("{}")
    assert configuration_folder("darkroom/sd15") == folder
    assert (folder / "unet" / "config.json").read_text() == before
    assert [path.name for path in folder.parent.iterdir()] == ["sd15"]


def test_a_checkpoint_says_by_its_tensors_which_one_it_is_of(tmp_path: Path) -> None:
    for name, shapes, found in (
        ("sd15", {OUTPUT: (4, 8, 1, 1), INPUT: (4, 768)}, "darkroom/sd15"),
        ("sdxl", {SDXL: (8,)}, "darkroom/sdxl"),
        ("unknown", {"weight": (2,)}, None),
    ):
        file = checkpoint(tmp_path / f"{name}.safetensors", shapes)
        assert configuration_of(file) == found
        assert located(ModelRef("darkroom/demo", single_file=file)).repo_id == (found or "darkroom/demo")
        assert located(ModelRef("someone/model", single_file=file)).repo_id == "someone/model"


def test_kinds_without_a_configuration_and_those_with_two_are_refused(tmp_path: Path) -> None:
    for shapes, said in (
        ({INPUT: (4, 1024)}, "may be of either of darkroom/sd21 and darkroom/sd21-base"),
        ({SDXL: (8,), "v_pred": (0,)}, "predicts velocities, and no configuration of that comes with Darkroom"),
        ({"edm_mean": (4,)}, "is of the kind playground-v2-5, and no configuration"),
        ({"single_stream_modulation.lin.weight": (4,)}, "is of the kind flux-2-dev, and no configuration"),
    ):
        file = checkpoint(tmp_path / "model.safetensors", shapes)
        with pytest.raises(DarkroomError, match=f"model.single_file={file} {said}"):
            located(ModelRef("darkroom/demo", single_file=file))
