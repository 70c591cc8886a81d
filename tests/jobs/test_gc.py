"""Removing what nothing names, beside whatever else is at work: no committed image is ever lost by it."""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from darkroom.api import maintenance
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import FAILED, OK
from darkroom.engine import worker
from darkroom.runs import manifest
from darkroom.runs.cells import dropped_cells, put_choices
from darkroom.runs.files import manifest_key
from darkroom.runs.images import image_bytes
from darkroom.runs.manifest import extra_columns, to_records, to_table
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, copied, named, run_here

Where = tuple[Store, list[str]]  # a run, and what names it


@pytest.fixture(scope="module", params=["files on disk", "files on s3", "webdataset on disk"])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A run that stays as it is."""
    layout, place = request.param.split(" on ")
    uri, endpoint = str(tmp_path_factory.mktemp("finished") / "run"), None
    if place == "s3":
        uri, endpoint = f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3_endpoint")
    output = [f"output.uri={uri}", *([f"output.endpoint_url={endpoint}"] if endpoint else [])]
    slots = ("prompts=template", "prompts.pattern='a {n} circle'", "prompts.slots={n: [red, blue, green, grey]}")
    assert run_here("generate", *PAINT, *slots, f"output.layout={layout}", "engine.shard_size=2", *output) == 0
    return open_store(parse_spec(uri, endpoint))


@pytest.fixture
def run(finished: Store, tmp_path: Path) -> Where:
    store = copied(finished, f"s3://bucket/{uuid.uuid4().hex}" if finished.spec.endpoint_url else str(tmp_path / "run"))
    return store, named(store)


def fail_first(store: Store) -> None:
    """As if the first image of every shard had failed, and killed attempts had stored the right one and another."""
    store.put("images/00/00ff.png", b"an orphan")
    for name in list(manifest.committed(store)):
        before = store.get(manifest_key(name))
        table = manifest.parse(before)
        first, *others = to_records(table)
        lost = replace(
            first, status=FAILED, error="x", key=None, member=None, offset=None, sha256=None, bytes=None,
            pixels_sha256=None,
        )  # fmt: skip
        failed = to_table([lost, *others], extra_columns(table), manifest.texts(table.schema))
        assert manifest.revise(store, name, before, failed)


def gc(where: list[str]) -> int:
    return run_here("gc", *where, "older_than_s=0")


def retry(where: list[str]) -> int:
    return run_here("retry", *where, "engine=local", "engine.max_attempts=3")


def is_whole(store: Store) -> bool:
    """Every record is of an image that is stored as it says."""
    found = list(records(store))
    assert len(found) == 4
    return all(
        record.status == OK and hashlib.sha256(image_bytes(store, record)).hexdigest() == record.sha256
        for record in found
    )


def once_before(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, act: Callable[[], object]) -> None:
    """`act` happens in the middle of another job: right before its first call of this function."""
    original, left = getattr(owner, name), [act]

    def called(*arguments: Any, **named: Any) -> Any:
        if left:
            left.pop()()
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, called)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("owner", "name"),
    [(worker, "batches"), (worker, "put_container"), (manifest, "revise"), (worker, "remove_superseded")],
    ids=["it has read", "it has stored", "it commits", "it has committed"],
)
def test_gc_in_the_middle_of_a_retry(run: Where, monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> None:
    store, where = run
    fail_first(store)
    once_before(monkeypatch, owner, name, lambda: gc(where))
    assert retry(where) == 0
    assert is_whole(store)


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["named_keys", "fence_retries", "remove_orphans", "delete"])
def test_a_retry_in_the_middle_of_gc(run: Where, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:

    store, where = run
    fail_first(store)
    codes: list[int] = []
    owner = type(store) if moment == "delete" else maintenance
    once_before(monkeypatch, owner, moment, lambda: codes.append(retry(where)))
    assert gc(where) == 0
    assert codes == [0]
    assert is_whole(store)


@pytest.mark.slow
def test_an_attempt_that_sleeps_through_all_of_a_gc_cannot_commit(run: Where) -> None:
    store, where = run
    fail_first(store)
    name = next(manifest.committed(store))
    before = store.get(manifest_key(name))
    assert gc(where) == 0
    assert not manifest.revise(store, name, before, manifest.parse(before))
    table = manifest.read(store, name)
    assert table.equals(manifest.parse(before))
    assert manifest.texts(table.schema)["darkroom.run"] == manifest.texts(manifest.parse(before).schema)["darkroom.run"]


@pytest.mark.slow
def test_a_gc_that_was_killed_is_in_nobodys_way(run: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    store, where = run
    fail_first(store)
    with monkeypatch.context() as broken:
        broken.setattr(type(store), "delete", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            gc(where)
    assert gc(where) == retry(where) == gc(where) == 0
    assert is_whole(store)
    assert {info.key for info in store.list("images/")} == {record.key for record in records(store)}


@pytest.mark.slow
def test_a_killed_retry_is_gone_on_with(run: Where, monkeypatch: pytest.MonkeyPatch) -> None:
    store, where = run
    fail_first(store)
    with monkeypatch.context() as broken:
        broken.setattr(manifest, "revise", Mock(return_value=False))
        assert retry(where) != 0
    before = {info.key for info in store.list("images/")}
    assert retry(where) == 0
    assert {info.key for info in store.list("images/")} == before
    assert is_whole(store)


@pytest.mark.slow
def test_what_no_job_has_put_among_the_images_stays(run: Where, capsys: pytest.CaptureFixture) -> None:
    store, where = run
    theirs, ours = ["images/holiday.jpg", "images/00/mine.png", "images/notes/a.txt"], ["images/00/00ff.png"]
    for key in theirs + ours:
        store.put(key, b"x")
    assert gc(where) == 0
    there = {info.key for info in store.list("images/")}
    assert there >= set(theirs)
    assert not there & set(ours)
    assert "3 files there that no job writes stay" in capsys.readouterr().out


@pytest.mark.slow
def test_cells_that_an_early_choice_dropped_leave_nothing_unfinished(tmp_path: Path, capsys) -> None:
    slots = ("prompts=template", "prompts.pattern='a {n} circle'", "prompts.slots={n: [red, blue, green, grey]}")
    words = [*PAINT, *slots, f"output.uri={tmp_path}", "engine.shard_size=1"]
    words += ["grid.axes.guidance_scale=[1,2,3,4]"]
    score = ["evaluate=inline", "evaluation.metrics=[demo_clip.clip_score]"]
    score += ["evaluation.expect=[{figure: demo_clip.clip_score, lowest: -1, highest: 2.6}]"]
    halving = ["halving.figure=demo_clip.clip_score", "halving.num_images=2"]
    assert run_here("sweep", *words, *score, *halving) == 0
    store, where = open_store(parse_spec(str(tmp_path))), [f"run={tmp_path}"]
    dropped = dropped_cells(store)
    assert len(dropped) == 2
    assert capsys.readouterr().out.count("pass: demo_clip.clip_score") == 2
    lost = next(name for name in manifest.committed(store) if name.cell_id in dropped)
    table = manifest.read(store, lost, ["image_id", "key"])
    key, image_id = table["key"][0].as_py(), table["image_id"][0].as_py()
    orphan = tmp_path / key.replace(image_id, image_id[:2] + "0" * (len(image_id) - 2))
    orphan.write_bytes(b"of an attempt that lost")
    capsys.readouterr()
    assert (run_here("status", *where), gc(where)) == (0, 0)
    said = capsys.readouterr().out
    assert "dropped:   2 cells" in said
    assert "left:      nothing" in said
    assert not orphan.exists()
    store.delete([manifest_key(lost)])
    assert run_here("sweep", *words, *score, *halving) == 0
    assert dropped_cells(store) == dropped
    put_choices(store, [lost.cell_id], [])  # as a sweep that goes on with it, and was killed
    with pytest.raises(DarkroomError, match="shards are not committed"):
        gc(where)
