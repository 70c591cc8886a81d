import hashlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from darkroom.rendering.model_files import GIT_SHA1, file_digest

LARGE = 2 << 20
OLD_S = 100


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Large enough to be remembered, and, by this machine's clock, old enough."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    now_ns = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now_ns() + OLD_S * 10**9)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(bytes(LARGE))
    return path


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files whose bytes were read."""
    found: list[Path] = []
    read = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, kind: found.append(Path(file.name)) or read(file, kind))
    return found


def sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_a_file_is_read_once(file: Path, reads: list[Path]) -> None:
    assert file_digest(file) == file_digest(file) == sha256(file)
    assert reads == [file]


@pytest.mark.parametrize("change", ["in place", "by another", "same times", "shorter"])
def test_what_was_changed_is_read_again(file: Path, reads: list[Path], change: str) -> None:
    assert file_digest(file) == sha256(file)
    before = file.stat()
    time.sleep(0.02)  # a clock's tick
    if change == "by another":
        other = file.with_name("other")
        other.write_bytes(b"1" * LARGE)
        other.replace(file)
    else:
        with file.open("r+b") as open_file:
            open_file.write(b"1")
            open_file.truncate(LARGE - (change == "shorter"))
    if change == "same times":
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file_digest(file) == sha256(file)
    assert len(reads) == 2


def test_what_was_written_a_moment_ago_is_not_remembered(file: Path, reads: list[Path], monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(file.parent / "cache"))
    assert file_digest(file) == file_digest(file)
    assert not (file.parent / "cache").exists()


def test_another_machines_memory_says_nothing(file: Path, reads: list[Path], monkeypatch) -> None:
    """Of a home folder that two machines share, whose disks have numbers alike."""
    file_digest(file)
    monkeypatch.setattr("darkroom.rendering.model_files.machine_id", lambda: "another")
    assert file_digest(file) == sha256(file)
    assert len(reads) == 2


@pytest.mark.parametrize("damage", [b"", b"\xff\n", b"1 2\n3\n4"])
def test_a_damaged_memory_is_read_over(file: Path, damage: bytes) -> None:
    file_digest(file)
    [known] = (file.parent / "cache" / "darkroom" / "digests").iterdir()
    known.write_bytes(damage)
    assert file_digest(file) == sha256(file)


def test_a_blob_is_named_as_git_names_it(file: Path) -> None:
    said = subprocess.run(["git", "hash-object", str(file)], capture_output=True, text=True, check=True).stdout
    assert file_digest(file, GIT_SHA1) == f"git-sha1:{said.strip()}"
