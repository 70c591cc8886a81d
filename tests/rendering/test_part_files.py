"""Files of parts are found, named and refused by what their headers say, before anything is loaded."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.domain.adapters import LoraRef
from darkroom.domain.errors import DarkroomError
from darkroom.rendering import part_files
from darkroom.rendering.part_files import files_at, lora_files, weights_file

LAYER = "unet.mid_block.attentions.0.proj_in"


def lora(path: Path, value: float = 1.0, **more: torch.Tensor) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"{LAYER}.lora_A.weight": torch.full((2, 16), value), **more}, path)
    return path


def test_a_lora_is_called_by_its_file_or_by_the_folder_of_a_file_that_is_called_as_all_are(tmp_path: Path) -> None:
    lora(tmp_path / "Soft Light v2.safetensors")
    lora(tmp_path / "ink" / "pytorch_lora_weights.safetensors", 2.0)
    refs = (LoraRef(str(tmp_path / "Soft Light v2.safetensors"), 0.5), LoraRef(str(tmp_path / "ink")))
    first, second = lora_files(refs)
    assert (first.part.name, first.part.weight, second.part.name) == ("Soft Light v2", 0.5, "ink")
    [moved] = lora_files((LoraRef(str(tmp_path / "ink" / "pytorch_lora_weights.safetensors"), name="x"),))
    assert moved.part.revision == second.part.revision != first.part.revision


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("nowhere.safetensors", "no such file"),
        ("./nowhere/at/all", "no such file"),
        ("a.ckpt", "is a pickle, which can run code"),
        ("pickles", "has its weights as a pickle"),
        ("empty", "no .safetensors file in that folder"),
        ("two", "has several files (a.safetensors, b.safetensors)"),
        ("text.safetensors", "cannot be read as safetensors"),
        ("whole.safetensors", "has no LoRA layers"),
        ("a+b.safetensors", "its name 'a+b' cannot be"),
        ("none.safetensors", "its name 'none' cannot be"),
    ],
)
def test_what_is_no_lora_is_refused_in_a_line(tmp_path: Path, name: str, error: str, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for each in ("a.ckpt", "pickles/a.bin", "text.safetensors"):
        Path(each).parent.mkdir(exist_ok=True)
        Path(each).write_bytes(b"no weights at all")
    for each in ("two/a", "two/b", "a+b", "none"):
        lora(Path(f"{each}.safetensors"))
    Path("empty").mkdir()
    save_file({"unet.conv_in.weight": torch.zeros(1)}, "whole.safetensors")
    with pytest.raises(DarkroomError) as caught:
        lora_files((LoraRef(name),))
    assert error in str(caught.value)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_of_one_name_and_one_file_twice_are_refused(tmp_path: Path) -> None:
    some = [lora(tmp_path / each, value) for value, each in enumerate(("a/x.safetensors", "b/x.safetensors"))]
    with pytest.raises(DarkroomError, match="has two named x"):
        lora_files([LoraRef(str(each)) for each in some])
    with pytest.raises(DarkroomError, match="are one file"):
        lora_files([LoraRef(str(some[0])), LoraRef(str(some[0]), name="y")])


def test_without_peft_it_is_said_what_to_install(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(part_files, "find_spec", lambda name: None)
    with pytest.raises(DarkroomError, match=r"needs the package peft; run `pip install"):
        lora_files((LoraRef(str(lora(tmp_path / "a.safetensors"))),))


def test_a_lora_of_the_hub_is_found_in_its_cache(tmp_path: Path, monkeypatch) -> None:
    snapshot = tmp_path / "hub" / "models--someone--styles" / "snapshots" / ("0" * 40)
    lora(snapshot / "sub" / "ink.safetensors")
    (snapshot.parents[1] / "refs").mkdir()
    (snapshot.parents[1] / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert weights_file("someone/styles/sub/ink.safetensors", "x").samefile(snapshot / "sub" / "ink.safetensors")
    with pytest.raises(DarkroomError, match=r"x: .*hub"):
        weights_file("someone/others/ink.safetensors", "x")


def test_a_folder_of_parts_holds_those_of_its_folders_too(tmp_path: Path) -> None:
    some = [lora(tmp_path / each) for each in ("a.safetensors", "b/pytorch_lora_weights.safetensors")]
    assert files_at(str(tmp_path)) == [str(each) for each in some]
    assert files_at(str(some[0])) == [str(some[0])]
