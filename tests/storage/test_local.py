"""What only a disk does: links, locks, temporaries, processes that race and processes that die."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage.local import LocalStore
from darkroom.storage.store import StoreSpec, parse_spec

_RACE = """
import sys
from darkroom.storage.store import open_store
from darkroom.storage.store import parse_spec
store = open_store(parse_spec(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    if store.put_if_absent(f"prize/{number}", sys.argv[2].encode()):
        print(number)
"""
_COUNT = """
import sys
from darkroom.storage.store import open_store
from darkroom.storage.store import parse_spec
store = open_store(parse_spec(sys.argv[1]))
for _ in range(30):
    while not store.replace("count", str(int(now := store.get("count")) + 1).encode(), expected=now):
        pass
"""


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(StoreSpec(str(tmp_path / "store")))


def _start(code: str, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_one_of_many_racing_processes_wins_each_key(store: LocalStore) -> None:
    racers = {name: _start(_RACE, store.spec.uri, name) for name in ("one", "two", "three")}
    for racer in racers.values():
        assert racer.stdout
        racer.stdout.readline()
    for racer in racers.values():
        assert racer.stdin
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [(int(number), name) for name, racer in racers.items() for number in racer.communicate()[0].split()]
    assert len(won) == 100
    assert {number: store.get(f"prize/{number}").decode() for number, _ in won} == dict(won)


@pytest.mark.slow
def test_processes_that_replace_in_turns_lose_no_step(store: LocalStore) -> None:
    store.put("count", b"0")
    for process in [_start(_COUNT, store.spec.uri) for _ in range(3)]:
        process.communicate()
        assert process.returncode == 0
    assert store.get("count") == b"90"


def test_a_broken_write_is_no_object_and_can_be_found(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # as if the process had died before it cleaned up
    store.put_if_absent("images/a", b"x")
    assert [info.key for info in store.list()] == ["images/a"]
    (left,) = store.temporaries()
    assert left.read_bytes() == b"x"


def test_hidden_folders_and_foreign_names_are_not_objects(store: LocalStore, tmp_path: Path) -> None:
    store.put("a", b"x")
    (tmp_path / "store" / ".git").mkdir()
    (tmp_path / "store" / ".git" / "config").write_text("x")
    (tmp_path / "store" / "my notes.txt").write_text("x")
    assert [info.key for info in store.list()] == ["a"]


def test_a_write_is_synced_before_it_is_visible(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the folder after: the order is what survives a power cut, and no test can cut the power."""
    seen: list[str] = []
    link, fsync = os.link, os.fsync

    def noted_link(source: Path, target: Path) -> None:
        seen.append("link")
        link(source, target)

    def noted_fsync(handle: int) -> None:
        seen.append("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file")
        fsync(handle)

    store.put("warm", b"x")
    monkeypatch.setattr(os, "link", noted_link)
    monkeypatch.setattr(os, "fsync", noted_fsync)
    store.put_if_absent("a", b"x")
    assert seen == ["file", "link", "folder"]
    seen.clear()
    store.put_if_absent("a", b"y")
    assert seen == ["folder"]  # who adopts an object makes sure of it
    seen.clear()
    store.put_if_absent("new/b", b"x")
    assert seen.index("link") > seen.index("folder")  # the new folder's own name


def test_a_link_whose_reply_was_lost_is_our_own(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network disk may link, lose the reply, be asked again and say that the file exists."""
    link = os.link

    def link_twice(source: Path, target: Path) -> None:
        link(source, target)
        link(source, target)

    monkeypatch.setattr(os, "link", link_twice)
    assert store.put_if_absent("a", b"x")


def test_a_disk_without_hard_links_is_said_so(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with pytest.raises(DarkroomError, match="no hard links") as caught:
        store.check()
    assert "\n" not in str(caught.value)
    assert list(store.temporaries()) == []


def test_a_folder_that_cannot_be_written_is_said_so() -> None:
    with pytest.raises(DarkroomError, match="cannot be written"):
        LocalStore(StoreSpec("/proc/darkroom")).check()


def test_a_folder_to_read_must_be_there_and_is_not_made(store: LocalStore) -> None:
    with pytest.raises(DarkroomError, match="does not exist"):
        store.check(writing=False)
    assert not Path(store.spec.uri).exists()


def test_an_address_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_spec("runs/x/") == StoreSpec(str(tmp_path / "runs" / "x"))
    assert parse_spec(f"file://{tmp_path}/a%20b") == StoreSpec(str(tmp_path / "a b"))
    assert parse_spec("s3://bucket/a/b/", "http://host:1/") == StoreSpec("s3://bucket/a/b", "http://host:1")
    assert parse_spec("s3://bucket/") == StoreSpec("s3://bucket")


@pytest.mark.parametrize("writing", [True, False])
@pytest.mark.parametrize("place", ["loop", "a" * 300, "file/below"])
def test_a_place_that_can_be_none_is_refused_in_one_line(tmp_path: Path, place: str, writing: bool) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    with pytest.raises(DarkroomError, match=f"output.uri: .*{place}.*(cannot be|does not exist).*; "):
        LocalStore(parse_spec(str(tmp_path / place))).check(writing)


def test_the_home_of_nobody_is_refused_in_one_line() -> None:
    with pytest.raises(DarkroomError, match="~nobody-here/x: no home folder"):
        parse_spec("~nobody-here/x")
