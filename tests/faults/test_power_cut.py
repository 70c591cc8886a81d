"""The power goes off at any moment: whatever a disk may then have lost, a manifest it kept names whole images.

No test can cut the power. So a disk's memory is kept beside the real one: a file's bytes last once the file was synced,
its name once its folder was. A manifest may last from the moment of its link, so all that it names must last before.
"""

import os
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.jobs.console import ExitCode
from darkroom.runs import manifest
from darkroom.runs.layouts import LAYOUTS
from tests.jobs.helpers import PAINT, run_here

SYNC, LINK = os.fsync, os.link


class Disk:
    """What would outlast a power cut below a run's folder, and each promise that was broken."""

    def __init__(self, run: Path) -> None:
        self.run = run
        self.num_manifests = 0
        self.broken: list[str] = []
        self.forgets_folders = self.refuses_manifests = False
        self._sizes: dict[int, int] = {}  # inode -> bytes that last
        self._names: set[tuple[int, str, int]] = set()  # (folder's inode, name, inode) that last

    def sync(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").resolve()
        is_ours = path.is_relative_to(self.run.parent)
        if is_ours and path.is_dir():
            if self.forgets_folders:
                return
            before = {(path.stat().st_ino, entry.name, entry.inode()) for entry in os.scandir(path)}
            SYNC(handle)
            self._names |= before
        elif is_ours:
            SYNC(handle)
            self._sizes[os.fstat(handle).st_ino] = os.fstat(handle).st_size

    def link(self, source: Path, target: Path) -> None:
        if target.is_relative_to(self.run / "metadata"):
            if self.refuses_manifests:
                raise OSError("the first start ends here")
            self._check(source)
        LINK(source, target)

    def lasts(self, path: Path) -> bool:
        names = [path, *(folder for folder in path.parents if folder.is_relative_to(self.run))]
        has_names = all((name.parent.stat().st_ino, name.name, name.stat().st_ino) in self._names for name in names)
        return has_names and self._has_bytes(path)

    def _check(self, new: Path) -> None:
        self.num_manifests += 1
        table = manifest.parse(new.read_bytes())
        named = {self.run / key for key in table["key"].to_pylist()} | set(self.run.glob("cells/*"))
        self.broken += [] if self._has_bytes(new) else [f"{new}: a manifest whose bytes may be torn"]
        self.broken += [str(path) for path in {*named, self.run / "run.json"} if not self.lasts(path)]

    def _has_bytes(self, path: Path) -> bool:
        return self._sizes.get(path.stat().st_ino) == path.stat().st_size


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disk:
    made = Disk(tmp_path / "run")
    monkeypatch.setattr(os, "fsync", made.sync)
    monkeypatch.setattr(os, "link", made.link)
    return made


@pytest.fixture
def generate(tmp_path: Path) -> Callable[[str], int]:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"prompt {number}\n" for number in range(12)))
    given = ("prompts=file", f"prompts.uri={prompts}", f"output.uri={tmp_path / 'run'}", "engine.shard_size=4")
    return lambda layout: run_here("generate", *PAINT, *given, f"output.layout={layout}")


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_a_manifest_names_lasts_before_the_manifest_can(disk: Disk, generate: Callable, layout: str) -> None:
    assert generate(layout) == 0
    assert disk.num_manifests == 3
    assert disk.broken == []


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_so_do_images_that_a_killed_attempt_left(disk: Disk, generate: Callable, layout: str) -> None:
    """They lie there, but their names were never made to last; who adopts them sees to it."""
    disk.forgets_folders = disk.refuses_manifests = True
    assert generate(layout) is ExitCode.UNFINISHED
    disk.forgets_folders = disk.refuses_manifests = False
    left = {path for path in disk.run.glob("images/**/*") if path.is_file()}
    assert left
    assert not any(disk.lasts(path) for path in left)
    assert generate(layout) == 0
    assert disk.num_manifests == 3
    assert disk.broken == []


@pytest.mark.slow
def test_a_disk_that_forgets_is_seen(disk: Disk, generate: Callable) -> None:
    disk.forgets_folders = True
    generate("files")
    assert len(disk.broken) >= 12


@pytest.mark.slow
def test_no_part_of_a_manifest_counts_as_one(disk: Disk, generate: Callable) -> None:
    generate("files")
    whole = next(disk.run.glob("metadata/**/*.parquet")).read_bytes()
    for size in range(0, len(whole), 97):
        with pytest.raises((pa.ArrowException, OSError, ValueError)):
            manifest.parse(whole[:size])
