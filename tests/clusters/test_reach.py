from pathlib import Path

import pytest

from darkroom.clusters.reach import Names, Text, check_reach
from darkroom.domain.errors import DarkroomError


def check(value: str, names: Names = Names.PLACE, shared: tuple[str, ...] = ()) -> None:
    check_reach([Text("some.key", value, names)], shared)


@pytest.mark.parametrize(
    "value", ["s3://bucket/prefix", "gs://bucket/x", "http://store.example:9000", "http://10.0.0.7:8000/v1"]
)
def test_an_address_is_seen_from_everywhere(value: str) -> None:
    for names in Names:
        check(value, names)


@pytest.mark.parametrize(
    "value",
    [
        "http://localhost:9000", "https://LOCALHOST", "http://127.0.0.1:9000", "http://127.1.2.3", "http://[::1]:9000/v1",
        "http://0.0.0.0:8000", "http://s3.localhost:4566",
    ],
)  # fmt: skip
@pytest.mark.parametrize("names", Names)
def test_this_machines_loopback_is_refused(value: str, names: Names) -> None:
    with pytest.raises(DarkroomError, match=r"some.key=.*: .* is another machine there than here"):
        check(value, names)


@pytest.mark.parametrize("value", ["/data/x", "/mnt/data2/x", "/mnt/data/../x", "file:///data/x", "/"])
def test_a_folder_of_this_machine_is_refused(value: str) -> None:
    with pytest.raises(DarkroomError, match=r"some.key=.* does not see this machine's folders; copy it to s3://"):
        check(value, shared=("/mnt/data",))


@pytest.mark.parametrize("value", ["/mnt/data", "/mnt/data/x/../y", "file:///mnt/data/x"])
def test_a_shared_folder_is_seen(value: str) -> None:
    check(value, shared=("/other", "/mnt/data/"))


def test_a_relative_path_is_refused_and_written_whole_where_it_is_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DarkroomError, match=r"some.key=runs/x: a relative path is another one on the cluster; copy it"):
        check("runs/x")
    with pytest.raises(DarkroomError, match=f"write {tmp_path}/runs/x"):
        check("runs/x", shared=(str(tmp_path),))


def test_a_model_is_a_folder_where_one_of_its_name_lies_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    check("someone/model", Names.MODEL)
    (tmp_path / "someone" / "model").mkdir(parents=True)
    with pytest.raises(DarkroomError, match=r"some.key=someone/model: a relative path"):
        check("someone/model", Names.MODEL)


@pytest.mark.parametrize("value", ["ink.safetensors", "./ink", "../ink", "/models/ink", "~/ink"])
def test_what_can_be_no_hub_id_is_a_path(value: str) -> None:
    with pytest.raises(DarkroomError, match=r"some.key="):
        check(value, Names.MODEL)
    check(value, Names.ANYTHING)


@pytest.mark.parametrize("shared", ["data", "/", "", "./data"])
def test_a_shared_folder_is_absolute(shared: str) -> None:
    with pytest.raises(DarkroomError, match=r"shared=.*: give the absolute path"):
        check("s3://bucket", shared=(shared,))


def test_a_picture_lies_below_its_folder_or_where_machines_share_it() -> None:
    check("a.png", Names.PICTURE)
    check("/mnt/data/a.png", Names.PICTURE, shared=("/mnt/data",))
    for value in ("/data/a.png", "~/a.png", "file:///data/a.png"):
        with pytest.raises(DarkroomError, match="does not see this machine's folders"):
            check(value, Names.PICTURE, shared=("/mnt/data",))
