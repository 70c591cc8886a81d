"""What cannot be a reference is refused in one line that names it, before a network is loaded."""

import io
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.moments import to_npz
from darkroom.references import decoding
from darkroom.references.decoding import batches, decode
from darkroom.references.opening import open_reference
from darkroom.references.reference import ImageFile, ReferenceSpec
from tests.references.making import Measuring, encoded, image_structs, tar_bytes, write_folder, write_table

IMAGES = encoded(5)
NAMED = {f"{number}.png": data for number, data in enumerate(IMAGES)}


def png_of_size(width: int, height: int) -> bytes:
    """A file of a few bytes that says it is a large picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


BAD_IMAGES = {
    "no bytes": (b"", "none of PNG, JPEG, WEBP, BMP"),
    "text": (b"<html>", "none of PNG, JPEG, WEBP, BMP"),
    "cut off": (IMAGES[0][:-60], "truncated|broken|Truncated"),
    "another format": (b"GIF89a" + bytes(100), "none of PNG, JPEG, WEBP, BMP"),
    "a bomb": (png_of_size(20_000, 20_000), "decompression bomb"),
    "half a bomb": (png_of_size(10_000, 10_000), "decompression bomb"),
}


@pytest.mark.parametrize(("data", "reason"), BAD_IMAGES.values(), ids=list(BAD_IMAGES))
def test_a_bad_image_is_named_before_the_extractor_is_loaded(
    tmp_path: Path, measure: Measuring, data: bytes, reason: str
) -> None:
    write_folder(tmp_path / "a", NAMED | {"-bad.png": data})
    with pytest.raises(DarkroomError, match=rf"a/-bad\.png: cannot be read as an image \(.*({reason}).*; replace it"):
        measure(tmp_path / "a")
    assert measure.num_pictures == 0


def test_bad_images_are_counted(tmp_path: Path, measure: Measuring) -> None:
    write_folder(tmp_path / "a", NAMED | {"1a.png": b"bad", "3a.png": b"bad", "4a.png": b"bad"})
    with pytest.raises(DarkroomError, match=r"1a\.png: .*\(2 more images of it have faults too\)$"):
        measure(tmp_path / "a")


def test_a_file_too_large_is_not_read(tmp_path: Path, measure: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "MAX_BYTES", max(map(len, IMAGES)))
    write_folder(tmp_path / "a", NAMED | {"large.png": bytes(5000)})
    (tmp_path / "a.tar").write_bytes(tar_bytes([*NAMED.items(), ("large.png", bytes(5000))]))
    write_table(tmp_path / "a.parquet", image=image_structs([*IMAGES, bytes(5000)]))
    for name, place in (("a", "/large.png"), ("a.tar", ": large.png"), ("a.parquet", ": row 5")):
        with pytest.raises(DarkroomError, match=f"{name}{place}: 5,000 bytes are more than the"):
            measure(tmp_path / name)


def test_memory_is_bounded_by_pixels_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "_BATCH_PIXELS", 100)
    sizes = [(5, 10), (5, 10), (1, 1), (20, 20), (2, 2)]
    found = batches(np.zeros((*size, 3), np.uint8) for size in sizes)
    assert [[picture.shape[:2] for picture in batch] for batch in found] == [
        sizes[:2],
        sizes[2:3],
        sizes[3:4],
        sizes[4:],
    ]


def _empty(path: Path) -> Path:
    (path / "empty").mkdir()
    return path / "empty"


def _no_images(path: Path) -> Path:
    return write_folder(path / "none", {"a.txt": b"x", ".b.png": IMAGES[0]})


def _mixed(path: Path) -> Path:
    return write_folder(path / "mixed", NAMED | {"a.tar": b""})


def _one(path: Path) -> Path:
    return write_folder(path / "one", {"a.png": IMAGES[0]})


def _npz(path: Path) -> Path:
    return write_folder(path, {"a.npz": to_npz(np.zeros(2), np.eye(2))[:-30]}) / "a.npz"


def _table(**columns: pa.Array) -> Callable[[Path], Path]:
    return lambda path: write_table(path / "a.parquet", **columns)


def _broken_table(path: Path) -> Path:
    write_table(path / "a.parquet", image=image_structs(IMAGES))
    (path / "a.parquet").write_bytes((path / "a.parquet").read_bytes()[:-9])
    return path / "a.parquet"


def _run_json(path: Path) -> Path:
    return write_folder(path / "odd", {"run.json": b"{}"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda _: "", "reference is empty; give demo, a folder"),
        (lambda path: path / "nowhere", "nowhere: nothing is there; give demo, a folder"),
        (lambda path: path / "nowhere" / "*.png", r"\*\.png: nothing is there"),
        (lambda path: f"{path}/nowhere#abc", "nowhere#abc: nothing is there"),
        (_empty, "empty: nothing is there"),
        (_no_images, "none: 1 files there, and none is of images; give demo"),
        (_mixed, r"it holds 5 \.png, 1 \.tar; name one kind of them"),
        (_one, "one image found; give at least two"),
        (_npz, r"a\.npz: .* no \.npz of numbers"),
        (_table(a=pa.array([1]), b=pa.array(["x"])), "no column holds images; its columns are a, b; name the one"),
        (_table(a=pa.array([b"x"]), b=image_structs([b"x"])), "2 columns may hold images; its columns are a, b"),
        (_broken_table, r"a\.parquet: cannot be read \(.*\); check that it is whole"),
        (_run_json, r"run\.json: not readable as a run's description"),
        (lambda _: "ftp://host/x", "reference: ftp:// is not known here"),
        (lambda _: "s3://", "reference: s3:// without a bucket"),
    ],
)
def test_the_first_look_refuses_what_it_can(tmp_path: Path, make: Callable, message: str) -> None:
    with pytest.raises(DarkroomError, match=message) as caught:
        open_reference(ReferenceSpec(str(make(tmp_path))))
    assert "\n" not in str(caught.value)


def test_an_address_with_a_password_is_not_repeated() -> None:
    with pytest.raises(DarkroomError, match="credentials in an address") as caught:
        open_reference(ReferenceSpec("s3://me:secret@bucket/x"))
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said_at_once(s3_endpoint: str) -> None:
    with pytest.raises(DarkroomError, match=r"reference: .*the bucket does not exist"):
        open_reference(ReferenceSpec("s3://no-such-bucket/x", s3_endpoint))
    with pytest.raises(DarkroomError, match="its endpoint_url: no usable address"):
        open_reference(ReferenceSpec("s3://bucket/x", "nonsense"))


def test_members_with_hostile_names_are_read_and_never_written(tmp_path: Path, measure: Measuring) -> None:
    names = ["../../up.png", "/tmp/absolute.png", "line\nbreak.png", "\x1b[31mred.png", "d/../../x.png"]
    (tmp_path / "a.tar").write_bytes(tar_bytes(zip(names, IMAGES, strict=True)))
    before = sorted(tmp_path.rglob("*"))
    assert len(measure(tmp_path / "a.tar").ids) == 5
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    for name in names[2:4]:
        (tmp_path / "b.tar").write_bytes(tar_bytes([(name, b"bad")]))
        with pytest.raises(DarkroomError, match="cannot be read as an image") as caught:
            measure(tmp_path / "b.tar")
        assert str(caught.value).isprintable()


def test_files_with_hostile_names_are_named_in_one_line(tmp_path: Path, measure: Measuring) -> None:
    write_folder(tmp_path / "a", NAMED | {"-line\nbreak.png": b"bad"})
    with pytest.raises(DarkroomError, match=r"-line\\nbreak\.png") as caught:
        measure(tmp_path / "a")
    assert str(caught.value).isprintable()
    (tmp_path / "a" / "z\udcff.png").write_bytes(IMAGES[0])
    with pytest.raises(DarkroomError, match="a file's name is not UTF-8; rename it"):
        measure(tmp_path / "a")


def test_links_and_folders_in_a_tar_are_no_images(tmp_path: Path, measure: Measuring) -> None:
    import tarfile

    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for name, kind in (("l.png", tarfile.SYMTYPE), ("h.png", tarfile.LNKTYPE), ("d.png", tarfile.DIRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name, data in NAMED.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    assert len(measure(tmp_path / "a.tar").ids) == 5


def test_a_tar_that_is_cut_anywhere_is_refused(tmp_path: Path, measure: Measuring) -> None:
    """The tarfile module alone takes one that ends between two members for whole, and what follows a bad header for
    nothing."""
    whole = tar_bytes(NAMED.items())
    third = whole.index(b"2.png")
    spoiled = whole[:third] + b"\xff" * 512 + whole[third + 512 :]
    for data in (whole[:third], whole[: third + 100], whole[: third + 700], spoiled, b"", b"no tar" * 200):
        (tmp_path / "a.tar").write_bytes(data)
        with pytest.raises(DarkroomError, match=r"a\.tar: no whole tar \(.+\); copy it anew"):
            measure(tmp_path / "a.tar")


def test_a_tar_without_images_is_refused(tmp_path: Path, measure: Measuring) -> None:
    (tmp_path / "a.tar").write_bytes(tar_bytes([("a.txt", b"x")]))
    with pytest.raises(DarkroomError, match=r"a\.tar: no image found; give at least two"):
        measure(tmp_path / "a.tar")


def test_a_row_without_bytes_is_named(tmp_path: Path, measure: Measuring) -> None:
    write_table(tmp_path / "a.parquet", image=image_structs([*IMAGES, None]))
    with pytest.raises(DarkroomError, match=r"a\.parquet: row 5: no image bytes in it"):
        measure(tmp_path / "a.parquet")


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(where=st.integers(0, 10_000), value=st.integers(0, 255), number=st.integers(0, 2))
def test_damaged_bytes_are_decoded_or_refused(where: int, value: int, number: int) -> None:
    data = bytearray(encoded(1, image_format=("png", "jpeg", "webp")[number])[0])
    data[where % len(data)] = value
    with suppress(DarkroomError):
        picture = decode(ImageFile("a", bytes(data)))
        assert (picture.dtype, picture.shape[2:]) == (np.uint8, (3,))
