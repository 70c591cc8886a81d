"""Links in a run's folder lead no job out of it; the folder itself may be one. A lock is not waited for for ever."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage.disk import locked
from darkroom.storage.local import LocalStore
from darkroom.storage.store import StoreError, StoreSpec, parse_spec
from tests.jobs.helpers import PAINT, run_here

_HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "a")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(StoreSpec(str(tmp_path / "store")))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    folder = tmp_path / "victim" / "deep"
    folder.mkdir(parents=True)
    (folder / "mine.png").write_bytes(b"mine")
    return folder.parent


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("at", ["images", "images/deep", "metadata"])
def test_nothing_is_written_read_or_removed_behind_a_link(store: LocalStore, victim: Path, at: str) -> None:
    store.put("images/first.png", b"first")
    link = Path(store.describe(at))
    if link.exists():
        link.rename(link.with_name("moved"))
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(victim if at != "images/deep" else victim / "deep")
    key = f"{at}/{'deep/' if at != 'images/deep' else ''}mine.png"
    before = content(victim)
    calls = (
        lambda: store.put(key, b"ours"),
        lambda: store.put_if_absent(f"{at}/new.png", b"ours"),
        lambda: store.replace(key, b"ours", expected=b"mine"),
        lambda: store.delete([key]),
        lambda: store.get(key),
        lambda: list(store.list(f"{at}/")),
        lambda: list(store.list(f"{at.split('/')[0]}/")) if "/" in at else list(store.list()),
    )
    for call in calls:
        with pytest.raises(DarkroomError, match=f"{link} is a link"):
            call()
    assert content(victim) == before


def test_broken_writes_are_not_looked_for_behind_links(store: LocalStore, victim: Path) -> None:
    store.put("a/b", b"")
    (victim / ".tmp-theirs").write_bytes(b"")
    Path(store.describe("a/.tmp-ours")).write_bytes(b"")
    Path(store.describe("link")).symlink_to(victim)
    Path(store.describe("circle")).symlink_to(store.describe())
    assert [path.name for path in store.temporaries()] == [".tmp-ours"]


def test_a_link_to_a_file_is_itself_what_is_replaced_and_removed(store: LocalStore, victim: Path) -> None:
    mine = victim / "deep" / "mine.png"
    for name in ("put", "delete"):
        store.put(f"{name}/other", b"")
        Path(store.describe(f"{name}/link")).symlink_to(mine)
    assert store.get("put/link") == b"mine"
    store.put("put/link", b"ours")
    assert store.replace("put/link", b"ours too", expected=b"ours")
    store.delete(["delete/link"])
    assert not Path(store.describe("put/link")).is_symlink()
    assert not Path(store.describe("delete/link")).is_symlink()
    assert mine.read_bytes() == b"mine"


@pytest.mark.slow
def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk" / "real").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "disk")
    for spec in (StoreSpec(str(tmp_path / "link" / "real")), parse_spec(str(tmp_path / "link" / "real"))):
        store = LocalStore(spec)
        store.check()
        store.put("a/b", b"c")
        assert [info.key for info in store.list()] == ["a/b"]
        assert store.delete(["a/b"]) == 1
    assert run_here("generate", *PAINT, f"output.uri={tmp_path / 'link' / 'run'}") == 0
    assert run_here("gc", f"run={tmp_path / 'link' / 'run'}", "older_than_s=0") == 0
    assert (tmp_path / "disk" / "run" / "run.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("job", ["gc", "report", "verify", "repair", "generate"])
def test_links_in_a_run_lead_no_job_out_of_it(tmp_path: Path, victim: Path, job: str) -> None:
    run = tmp_path / "run"
    assert run_here("generate", *PAINT, f"output.uri={run}") == 0
    before = content(victim)
    (run / "images" / "00").mkdir(exist_ok=True)
    (run / "images" / "zz").symlink_to(victim)
    (run / "report").symlink_to(victim)
    for image in [path for path in (run / "images").iterdir() if path.is_dir() and not path.is_symlink()][:3]:
        image.rename(tmp_path / f"moved-{image.name}")
        image.symlink_to(victim / "deep")
    arguments = {
        "gc": ["older_than_s=0", "incomplete=true"],
        "verify": ["stored=true"],
        "generate": [*PAINT, f"output.uri={run}"],
    }.get(job, [])
    where = [] if job == "generate" else [f"run={run}"]
    if job == "generate":  # all again, over the links
        next((run / "metadata").rglob("*.parquet")).unlink()
    with suppress(DarkroomError):  # a line, or a list of what is missing: the job decides
        assert run_here(job, *where, *arguments) != 0
    assert content(victim) == before


# The lock -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A lock, and the process that has hung with it."""
    path = tmp_path / "store" / ".darkroom-lock"
    path.parent.mkdir()
    with subprocess.Popen([sys.executable, "-c", _HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout
        holder.stdout.readline()
        yield path, holder.pid
        holder.kill()


@pytest.mark.slow
def test_whoever_waits_for_a_lock_says_for_whom_and_gives_up(
    held: tuple[Path, int], capfd: pytest.CaptureFixture[str]
) -> None:
    path, pid = held
    with pytest.raises(StoreError, match=rf"{path}: process {pid} has held it for 3 s"), locked(path, wait_s=3.0):
        pass
    assert capfd.readouterr().err == f"waiting for {path}, which process {pid} holds, for 3 s at most\n"


@pytest.mark.slow
def test_a_job_that_waits_for_a_lock_ends_with_one_line(
    held: tuple[Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, pid = held
    monkeypatch.setattr("darkroom.storage.disk.locked.__wrapped__.__defaults__", (0.2,))
    with pytest.raises(DarkroomError, match=rf"output\.uri: {path}: process {pid} has held it"):
        run_here("generate", *PAINT, f"output.uri={path.parent}")


def test_a_lock_is_handed_on(tmp_path: Path) -> None:
    inside: list[int] = []

    def work() -> None:
        with locked(tmp_path / "lock"):
            inside.append(1)
            assert len(inside) == 1
            inside.pop()

    threads = [threading.Thread(target=work) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not inside


@pytest.mark.parametrize("kind", ["link", "dangling", "folder"])
def test_a_lock_that_is_no_file_is_named_and_left_alone(store: LocalStore, tmp_path: Path, kind: str) -> None:
    store.put("a", b"1")
    target, lock = tmp_path / "precious", Path(store.describe(".darkroom-lock"))
    if kind == "link":
        target.write_bytes(b"precious")
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(target)
    with pytest.raises(DarkroomError, match=r"\.darkroom-lock.*remove it"):
        store.replace("a", b"2", expected=b"1")
    assert target.exists() == (kind == "link")
    assert kind != "link" or target.read_bytes() == b"precious"
    assert os.path.lexists(lock)
