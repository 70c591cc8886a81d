"""Damage to stored images is found, named and mended, in every layout, on a disk and on S3."""

import uuid
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.exporting.run_folder import TABLE_KEY
from darkroom.runs.images import image_bytes
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, copied, named, run_here

NUM_IMAGES = 20


def generate(uri: str, endpoint: str | None, folder: Path, layout: str) -> Store:
    prompts = folder / "prompts.txt"
    prompts.write_text("".join(f"prompt {number}\n" for number in range(NUM_IMAGES)))
    more = [f"output.endpoint_url={endpoint}"] if endpoint else []
    given = (f"prompts.uri={prompts}", f"output.uri={uri}", f"output.layout={layout}", "engine.shard_size=6", *more)
    assert run_here("generate", *PAINT, "prompts=file", *given) == 0
    return open_store(parse_spec(uri, endpoint))


Make = Callable[[str], Store]


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """A finished run of a layout, which stays as it is."""

    @cache
    def made(layout: str) -> Store:
        folder = tmp_path_factory.mktemp(layout)
        return generate(str(folder / "run"), None, folder, layout)

    return made


@pytest.fixture(scope="module")
def in_s3(s3_endpoint: str, tmp_path_factory: pytest.TempPathFactory) -> Make:
    @cache
    def made(layout: str) -> Store:
        return generate(f"s3://bucket/{uuid.uuid4().hex}", s3_endpoint, tmp_path_factory.mktemp(layout), layout)

    return made


def contents(store: Store) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list()}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def flip_in_image(store: Store, key: str) -> set[str]:
    """One bit of one image."""
    record = next(record for record in records(store) if record.key == key)
    data = store.get(key)
    store.put(key, flipped(data, data.index(image_bytes(store, record)) + 30))
    return {record.image_id}


def cut_off(store: Store, key: str) -> set[str]:
    """The last third is gone: of a tar the images before it are still there."""
    named = [record for record in records(store) if record.key == key]
    data = store.get(key)[: len(store.get(key)) * 2 // 3]
    ends = {record.image_id: (record.offset or 0) + record.bytes for record in named}
    store.put(key, data)
    if not key.endswith(".tar"):
        return set(ends)
    return {image_id for image_id, end in ends.items() if end + 2048 > len(data)}  # its texts are two blocks each


def remove(store: Store, key: str) -> set[str]:
    store.delete([key])
    return {record.image_id for record in records(store) if record.key == key}


@pytest.mark.slow
@pytest.mark.parametrize("damage", [flip_in_image, cut_off, remove])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("place", ["on_disk", "in_s3"])
def test_damage_is_found_and_mended(
    request: pytest.FixtureRequest, tmp_path: Path, place: str, layout: str, damage: Callable, capsys
) -> None:
    uri = str(tmp_path / "run") if place == "on_disk" else f"s3://bucket/{uuid.uuid4().hex}"
    store = copied(request.getfixturevalue(place)(layout), uri)
    run = named(store)
    before = contents(store)
    assert run_here("verify", *run, "stored=true") == 0
    assert f"{NUM_IMAGES} of {NUM_IMAGES} stored images are what their records say" in capsys.readouterr().out
    key = sorted(key for key in before if key.startswith("images/"))[1]
    damaged = damage(store, key)
    assert run_here("verify", *run, "stored=true") == 1
    said = capsys.readouterr().out
    assert {line.split()[0] for line in said.splitlines() if key in line} == damaged
    assert f"{NUM_IMAGES - len(damaged)} of {NUM_IMAGES} stored" in said
    assert run_here("repair", *run) == 0
    assert f"{len(damaged)} of {len(damaged)} damaged images are repaired" in capsys.readouterr().out
    assert {**contents(store), TABLE_KEY: b""} == {**before, TABLE_KEY: b""}  # which says what records say
    assert run_here("verify", *run, "stored=true") == 0


@pytest.mark.slow
def test_a_caption_that_differs_beside_an_image_is_damage_too(on_disk: Make, tmp_path: Path, capsys) -> None:
    store = copied(on_disk("webdataset"), str(tmp_path / "run"))
    before = contents(store)
    key = next(key for key in before if key.endswith(".tar"))
    start, _, end = before[key].rpartition(b"prompt ")
    store.put(key, start + b"Prompt " + end)
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 1
    assert "the text stored beside it differs" in capsys.readouterr().out
    assert run_here("repair", f"run={tmp_path / 'run'}") == 0
    assert {**contents(store), TABLE_KEY: b""} == {**before, TABLE_KEY: b""}  # which says what records say


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_renders_to_other_bytes_is_not_put_back_and_said(
    on_disk: Make, tmp_path: Path, layout: str, capsys
) -> None:
    """A record that was tampered with stands for any image that cannot be made again."""
    store = copied(on_disk(layout), str(tmp_path / "run"))
    path = sorted((tmp_path / "run" / "metadata").rglob("*.parquet"))[0]
    frame = pd.read_parquet(path)
    frame.loc[0, "seed"] += 1
    frame.to_parquet(path)
    remove(store, frame["key"][0])
    before = contents(store)
    assert run_here("repair", f"run={tmp_path / 'run'}") == 1
    said = capsys.readouterr().out
    assert f"{frame['image_id'][0]}" in said
    assert f"and its record says {frame['sha256'][0]}" in said
    assert {**contents(store), TABLE_KEY: b""} == {**before, TABLE_KEY: b""}  # which says what records say


@pytest.mark.slow
def test_a_reader_of_a_missing_image_is_told_the_remedy(on_disk: Make, tmp_path: Path) -> None:
    store = copied(on_disk("webdataset"), str(tmp_path / "run"))
    record = next(records(store))
    remove(store, record.key or "")
    with pytest.raises(DarkroomError, match="darkroom repair"):
        image_bytes(store, record)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_object_that_cannot_be_read_is_named_and_mended(on_disk: Make, tmp_path: Path, layout: str, capsys) -> None:
    store = copied(on_disk(layout), str(tmp_path / "run"))
    before = contents(store)
    key = next(info.key for info in store.list("images/"))
    path = tmp_path / "run" / key
    path.unlink()
    path.symlink_to(path.name)
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 1
    assert "its file cannot be read (Too many levels of symbolic links)" in capsys.readouterr().out
    assert run_here("repair", f"run={tmp_path / 'run'}") == 0
    assert {**contents(store), TABLE_KEY: b""} == {**before, TABLE_KEY: b""}  # which says what records say
