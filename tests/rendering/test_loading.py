import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.rendering.loading import LocalFiles, proved
from darkroom.rendering.model_files import file_digest, files_in

LARGE = 2 << 20


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    folder = tmp_path / "model"
    (folder / "unet").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "unet" / "weights.safetensors").write_bytes(bytes(LARGE))

    def names() -> list[str]:
        return sorted(path.relative_to(folder).as_posix() for path in files_in(folder))

    return LocalFiles("model.repo_id=tiny", folder, {name: file_digest(folder / name) for name in names()}, names)


def replaced(folder: Path, name: str) -> None:
    other = folder.parent / "other"
    other.write_bytes(b"1" * (folder / name).stat().st_size)
    other.replace(folder / name)


def overwritten(folder: Path, name: str) -> None:
    with (folder / name).open("r+b") as file:
        file.write(b"1")


def removed(folder: Path, name: str) -> None:
    (folder / name).unlink()


def added(folder: Path, name: str) -> None:
    (folder / name).with_suffix(".txt").write_text("more")


def touched_and_back(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    overwritten(folder, name)
    (folder / name).write_bytes(data)


CHANGES = [replaced, overwritten, removed, added]
NAMES = ["config.json", "unet/weights.safetensors"]


def test_right_files_are_loaded(files: LocalFiles) -> None:
    assert proved(files, lambda: 7) == 7
    (files.folder / "README.md").write_text("words change nothing")
    assert proved(files, lambda: 7) == 7


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_changed_before_is_named(files: LocalFiles, change: Callable, name: str) -> None:
    change(files.folder, name)
    refused(files, lambda: 7, name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("change", [*CHANGES, touched_and_back])
def test_what_changes_meanwhile_is_named(files: LocalFiles, change: Callable, name: str) -> None:
    refused(files, lambda: change(files.folder, name), name)


def test_small_files_are_proved_before_any_code_runs(files: LocalFiles) -> None:
    ran: list[int] = []
    overwritten(files.folder, "config.json")
    refused(files, lambda: ran.append(1), "config.json")
    assert not ran


def test_wrong_files_say_more_than_what_a_library_makes_of_them(files: LocalFiles) -> None:
    def load() -> None:
        raise KeyError("conv_in.weight")

    with pytest.raises(KeyError):
        proved(files, load)
    overwritten(files.folder, "unet/weights.safetensors")
    refused(files, load, "unet/weights.safetensors")


def test_a_folder_that_is_not_there_is_named_by_a_file(files: LocalFiles) -> None:
    shutil.rmtree(files.folder)
    refused(files, lambda: 7, "config.json")


def refused(files: LocalFiles, load: Callable, name: str) -> None:
    with pytest.raises(WrongModel) as caught:
        proved(files, load)
    said = str(caught.value)
    assert isinstance(caught.value, DarkroomError)
    assert said.startswith("model.repo_id=tiny: on ")
    assert f"{name.rpartition('.')[0]}." in said
    assert str(files.folder) in said
    assert "\n" not in said
