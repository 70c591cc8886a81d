import io
import json
import tarfile

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from darkroom.runs.containers import (
    EncodedImage,
    index_parquet,
    index_tar,
    ustar_entries,
    write_parquet,
    write_tar,
    write_ustar,
)

IMAGES = [
    EncodedImage("0a", b"one", "png", "a cat", '{"seed": 1}'),
    EncodedImage("0b", b"three", "png", "naïve\n", "{}"),
]


@pytest.mark.parametrize(("write", "index"), [(write_tar, index_tar), (write_parquet, index_parquet)])
def test_a_container_is_a_function_of_its_images_and_gives_them_back(write, index) -> None:
    data = write(IMAGES)
    assert data == write(IMAGES)
    assert {name: found.data for name, found in index(data).items()} == {"0a": b"one", "0b": b"three"}


def test_a_tar_is_a_webdataset_shard_and_offsets_point_at_images() -> None:
    data = write_tar(IMAGES)
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        assert tar.getnames() == ["0a.png", "0a.txt", "0a.json", "0b.png", "0b.txt", "0b.json"]
    found = index_tar(data)["0b"]
    assert data[found.offset : found.offset + 5] == b"three"


FILES = st.lists(st.tuples(st.text("ab.0", min_size=1, max_size=100), st.binary(max_size=1100)), max_size=25)


@pytest.mark.slow
@given(FILES)
def test_a_tar_is_what_tarfile_writes(files: list[tuple[str, bytes]]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as whole:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            whole.addfile(info, io.BytesIO(data))
    data = write_ustar(files)
    assert data == buffer.getvalue()
    assert [(name, data[start:stop]) for name, start, stop in ustar_entries(data)] == files


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=40))
def test_a_damaged_tar_gives_what_comes_before_the_damage(place: int, noise: bytes) -> None:
    data = write_ustar([(f"{number}.png", b"x" * 300) for number in range(4)])
    damaged = data[:place] + noise + data[place + len(noise) :]
    whole = list(ustar_entries(data))
    found = list(ustar_entries(damaged))
    assert found[: place // 1024] == whole[: place // 1024]
    assert list(ustar_entries(data[:place]))[: place // 1024] == whole[: place // 1024]
    assert list(ustar_entries(noise)) == []


def test_a_parquet_container_has_the_image_column_that_datasets_knows() -> None:
    table = pq.read_table(io.BytesIO(write_parquet(IMAGES)))
    assert table["image"].to_pylist()[0] == {"bytes": b"one", "path": "0a.png"}
    assert json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]["image"]["_type"] == "Image"
