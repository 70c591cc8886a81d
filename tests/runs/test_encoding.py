import io
import json
import tarfile

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from darkroom.runs.encoding import (
    IMAGE_FORMATS,
    EncodedImage,
    FileText,
    decode,
    encode,
    index_parquet,
    index_tar,
    ustar_entries,
    write_parquet,
    write_tar,
    write_ustar,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
IMAGES = [
    EncodedImage("0a", b"one", "png", "a cat", '{"seed": 1}'),
    EncodedImage("0b", b"three", "png", "naïve\n", "{}"),
]


@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
def test_equal_pixels_give_equal_files_that_any_reader_opens(image_format: str) -> None:
    data = encode(PIXELS, image_format, 90)
    assert data == encode(PIXELS, image_format, 90)
    assert Image.open(io.BytesIO(data)).size == (24, 16)


def test_png_is_lossless() -> None:
    assert np.array_equal(decode(encode(PIXELS, "png", 90, FileText({"a": "b"}))), PIXELS)


@given(st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 30, 256]), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_png_files_of_any_size_are_whole_and_hold_their_pixels(
    height: int, width: int, colours: int, seed: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, colours, (height, width, 3)).astype(np.uint8)
    data = encode(pixels, "png", 90, FileText({"a": "b"}))
    Image.open(io.BytesIO(data)).verify()  # every chunk's checksum
    assert np.array_equal(decode(data), pixels)


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
