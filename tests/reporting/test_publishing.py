"""A report shares its folder: it removes what it put there itself, and overwrites nobody else's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.reporting.publishing import publish, report_files
from darkroom.storage.store import Store, StoreSpec, open_store
from tests.reporting.contents import plain_run

FILES = report_files(plain_run())
FEWER = report_files(replace(plain_run(), pictures=plain_run().pictures[:1]))
THEIRS = ("thumbnails/holiday.jpg", "thumbnails/sub/more.png", "notes.txt", "photo.webp")


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "disk":
        return open_store(StoreSpec(str(tmp_path / "site")))
    return open_store(StoreSpec(f"s3://bucket/{tmp_path.name}", request.getfixturevalue("s3_endpoint")))


@pytest.mark.slow
@pytest.mark.parametrize("prefix", ["", "report/"])
def test_a_report_removes_its_own_files_alone(store: Store, prefix: str) -> None:
    for name in THEIRS:
        store.put(prefix + name, b"mine")
    publish(FILES, store, prefix)
    publish(FEWER, store, prefix)
    there = {info.key.removeprefix(prefix) for info in store.list(prefix)}
    assert there == {*THEIRS, *FEWER, "files.json"}
    assert len(FEWER) < len(FILES)
    assert all(store.get(prefix + name) == b"mine" for name in THEIRS)


@pytest.mark.parametrize("name", ["index.html", "report.md", "plotly.min.js", "metrics.parquet"])
def test_a_file_of_somebody_else_is_not_overwritten(store: Store, name: str) -> None:
    store.put(name, b"mine")
    with pytest.raises(DarkroomError, match=f"{name}: there already"):
        publish(FILES, store, "")
    assert [info.key for info in store.list()] == [name]
    assert store.get(name) == b"mine"


@pytest.mark.slow
def test_a_report_that_is_older_than_lists_is_replaced(store: Store) -> None:
    publish(FILES, store, "")
    store.delete(["files.json"])
    publish(FEWER, store, "")
    assert store.get("index.html") == FEWER["index.html"]


@pytest.mark.slow
def test_a_report_that_was_cut_off_leaves_nothing_behind(store: Store) -> None:
    """Whatever was put before the end is in the list already."""

    class Killed(Exception):
        pass

    def killed(key: str, *_: object) -> None:
        if key == "index.html":
            raise Killed
        put(key, *_)

    put = store.put
    store.put = killed  # type: ignore[method-assign]
    with pytest.raises(Killed):
        publish(FILES, store, "")
    del store.put
    publish(FEWER, store, "")
    assert {info.key for info in store.list()} == {*FEWER, "files.json"}


@pytest.mark.parametrize("names", ["no json", {"files": ["../victim"]}, {"files": 3}, ["a"]])
def test_a_list_that_is_none_is_named(store: Store, names: object) -> None:
    store.put("files.json", names.encode() if isinstance(names, str) else json.dumps(names).encode())
    with pytest.raises(DarkroomError, match=r"files\.json: not readable"):
        publish(FILES, store, "")
    assert [info.key for info in store.list()] == ["files.json"]
