"""Headers of safetensors files say what is stored, and a file that is not whole is refused by its header alone."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from darkroom.domain.errors import DarkroomError
from darkroom.rendering.stored_tensors import StoredTensor, header, main_dtype


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    save_file({"one": torch.zeros(2, 16, dtype=torch.bfloat16), "two": torch.zeros(3)}, path, {"about": "nothing"})
    return path


def test_a_header_has_each_tensor_with_its_numbers_and_place(file: Path) -> None:
    found = header(file, "a")
    assert {name: (each.dtype, each.shape, each.end - each.begin) for name, each in found.items()} == {
        "one": ("BF16", (2, 16), 64),
        "two": ("F32", (3,), 12),
    }
    assert main_dtype(found.values()) == "bfloat16"


def test_a_file_without_tensors_is_whole(tmp_path: Path) -> None:
    save_file({}, tmp_path / "none.safetensors")
    assert header(tmp_path / "none.safetensors", "a") == {}


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [(("F32", "F32", "F16"), "float32"), (("F8_E4M3", "F8_E4M3", "F32"), "bfloat16"), ((), "float16")],
)
def test_a_model_is_computed_in_what_most_of_it_is_stored_in(dtypes: tuple[str, ...], expected: str) -> None:
    assert main_dtype(StoredTensor(dtype, (1,), 0, 4) for dtype in dtypes) == expected


@pytest.mark.parametrize("missing", [1, 12, 70])
def test_a_file_that_is_cut_off_is_refused(file: Path, missing: int) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:-missing])
    with pytest.raises(DarkroomError, match=f"mine: a.safetensors is cut off after {len(data) - missing} bytes"):
        header(file, "mine")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no weights at all",
        (2).to_bytes(8, "little") + b"[]",
        (13).to_bytes(8, "little") + b'{"a":{"b":1}}',
        (9).to_bytes(8, "little") + b'{"a":[1]}',
        (2**63).to_bytes(8, "little") + b"{}",
    ],
)
def test_what_is_no_safetensors_file_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(DarkroomError, match=r"mine: a\.safetensors (cannot be read as safetensors|is cut off)"):
        header(tmp_path / "a.safetensors", "mine")
