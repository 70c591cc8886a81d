"""Damage to stored images is found, named and mended, in every layout, on a disk and on S3."""

import uuid
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.runs.images import image_bytes
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import PAINT, run_here

NUM_IMAGES = 20


@pytest.fixture(params=["local", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str | None]:
    if request.param == "local":
        return str(tmp_path / "run"), None
    return f"s3://bucket/{uuid.uuid4().hex}", request.getfixturevalue("s3_endpoint")


def generate(address: tuple[str, str | None], tmp_path: Path, layout: str) -> Store:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("".join(f"prompt {number}\n" for number in range(NUM_IMAGES)))
    uri, endpoint = address
    more = [f"output.endpoint_url={endpoint}"] if endpoint else []
    given = (f"prompts.uri={prompts}", f"output.uri={uri}", f"output.layout={layout}", "engine.shard_size=6", *more)
    assert run_here("generate", *PAINT, "prompts=file", *given) == 0
    return open_store(parse_spec(uri, endpoint))


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
def test_damage_is_found_and_mended(
    address: tuple[str, str | None], tmp_path: Path, layout: str, damage: Callable, capsys: pytest.CaptureFixture
) -> None:
    store = generate(address, tmp_path, layout)
    run = [f"run={address[0]}", *([f"endpoint_url={address[1]}"] if address[1] else [])]
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
    assert contents(store) == before
    assert run_here("verify", *run, "stored=true") == 0


@pytest.mark.slow
def test_a_caption_that_differs_beside_an_image_is_damage_too(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    store = generate((str(tmp_path / "run"), None), tmp_path, "webdataset")
    before = contents(store)
    key = next(key for key in before if key.endswith(".tar"))
    start, _, end = before[key].rpartition(b"prompt ")
    store.put(key, start + b"Prompt " + end)
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 1
    assert "the text stored beside it differs" in capsys.readouterr().out
    assert run_here("repair", f"run={tmp_path / 'run'}") == 0
    assert contents(store) == before


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_renders_to_other_bytes_is_not_put_back_and_said(tmp_path: Path, layout: str, capsys) -> None:
    """A record that was tampered with stands for any image that cannot be made again."""
    store = generate((str(tmp_path / "run"), None), tmp_path, layout)
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
    assert contents(store) == before


@pytest.mark.slow
def test_a_reader_of_a_missing_image_is_told_the_remedy(tmp_path: Path) -> None:
    store = generate((str(tmp_path / "run"), None), tmp_path, "webdataset")
    record = next(records(store))
    remove(store, record.key or "")
    with pytest.raises(DarkroomError, match="darkroom repair"):
        image_bytes(store, record)


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_object_that_cannot_be_read_is_named_and_mended(tmp_path: Path, layout: str, capsys) -> None:
    store = generate((str(tmp_path / "run"), None), tmp_path, layout)
    before = contents(store)
    key = next(info.key for info in store.list("images/"))
    path = tmp_path / "run" / key
    path.unlink()
    path.symlink_to(path.name)
    assert run_here("verify", f"run={tmp_path / 'run'}", "stored=true") == 1
    assert "its file cannot be read (Too many levels of symbolic links)" in capsys.readouterr().out
    assert run_here("repair", f"run={tmp_path / 'run'}") == 0
    assert contents(store) == before
