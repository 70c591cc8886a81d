"""Jobs on a run whose manifests are copied, and then removed: what each says stays as it was."""

import json
import uuid
from dataclasses import replace
from pathlib import Path

import pytest

import darkroom
from darkroom.api.maintenance import retry
from darkroom.api.options import EngineOptions
from darkroom.domain.records import FAILED, Record
from darkroom.engine.shard import retried_shard
from darkroom.engine.tasks import RetryTask
from darkroom.runs import compaction, manifest
from darkroom.runs.files import COMPACTED_PREFIX, manifest_key
from darkroom.runs.manifest import extra_columns, to_records, to_table
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, named, run_here

SLOTS = ("prompts=template", "prompts.pattern='a {n} circle'", "prompts.slots={n: [red, blue, green, grey, black]}")


def fail_first(store: Store) -> None:
    """As if the first image of a shard had failed."""
    name = next(manifest.committed(store))
    before = store.get(manifest_key(name))
    table = manifest.parse(before)
    first, *others = to_records(table)
    lost = {"key": None, "sha256": None, "bytes": None, "pixels_sha256": None}
    failed: list[Record] = [replace(first, status=FAILED, error="x", **lost), *others]
    assert manifest.revise(store, name, before, to_table(failed, extra_columns(table), manifest.texts(table.schema)))


def said(where: list[str], capsys: pytest.CaptureFixture) -> dict:
    capsys.readouterr()
    run_here("status", *where, "json=true")
    found = json.loads(capsys.readouterr().out)
    of_pace = ("prompt_rows_per_s", "seconds_left")  # a retry commits once more
    return {name: value for name, value in found.items() if "commit" not in name and name not in of_pace}


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "s3"])
def test_a_run_whose_manifests_are_copied_and_removed_is_the_same_run(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture, request: pytest.FixtureRequest
) -> None:
    uri, endpoint = str(tmp_path / "run"), None
    if place == "s3":
        uri, endpoint = f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3_endpoint")
    output = [f"output.uri={uri}", *([f"output.endpoint_url={endpoint}"] if endpoint else [])]
    command = ("generate", *PAINT, *SLOTS, "engine.shard_size=2", *output)
    assert run_here(*command) == 0
    store = open_store(parse_spec(uri, endpoint))
    where = named(store)
    before, records = said(where, capsys), darkroom.open_run(uri, endpoint_url=endpoint).records
    fail_first(store)
    assert run_here("compact", *where) == 0
    assert "3 shards are copied into 1 files, and 0 were before" in capsys.readouterr().out
    assert run_here("retry", *where, "engine=local") == 0  # the copy of what it replaces counts no more
    assert run_here("compact", *where) == 0
    assert "1 shards are copied into 1 files, and 2 were before" in capsys.readouterr().out
    assert run_here("gc", *where, "older_than_s=0", "manifests=true", "dry_run=true") == 0
    assert run_here("gc", *where, "older_than_s=0", "manifests=true") == 0
    assert "3 manifests that are copied removed" in capsys.readouterr().out
    assert not list(store.list("metadata/"))
    assert said(where, capsys) == before
    assert run_here(*command) == run_here("verify", *where, "stored=true") == run_here("verify", *where) == 0
    again = darkroom.open_run(uri, endpoint_url=endpoint).records
    same = ["image_id", "prompt", "seed", "sha256", "status", "pixels_sha256"]
    assert again[same].equals(records[same])


@pytest.mark.slow
def test_a_retry_that_comes_late_to_a_manifest_that_was_removed_has_nothing_to_do(tmp_path: Path) -> None:
    assert run_here("generate", *PAINT, *SLOTS, "engine.shard_size=2", f"output.uri={tmp_path}") == 0
    run = darkroom.open_run(tmp_path)
    name = next(manifest.committed(run.store))
    compaction.compact(run.store)
    compaction.remove_manifests(run.store, compaction.removable_manifests(run.store))
    assert not any(True for _ in run.store.list("metadata/"))
    work = retried_shard(run.store, run.info.output, RetryTask(name, run.cells[name.cell_id].cell), 1)
    assert not work.samples
    assert not work.commit([], None)  # type: ignore[arg-type]
    assert retry(run, EngineOptions(), lambda _: None).num_tried == 0


@pytest.mark.slow
def test_a_job_copies_what_it_commits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "SEGMENT_ROWS", 4)
    monkeypatch.setattr(compaction, "_LEAST_SHARDS", 2)
    assert run_here("generate", *PAINT, *SLOTS, "engine.shard_size=1", f"output.uri={tmp_path}") == 0
    run = darkroom.open_run(tmp_path)
    assert sum(1 for _ in run.store.list(COMPACTED_PREFIX)) == 1
    assert compaction.compact(run.store).num_before == 4
