"""Images in files, tars and Parquet: hostile names, damage, and rows without an image."""

import io
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import reference
from tests.evaluation.references import (
    IMAGES,
    NAMED,
    Measuring,
    check_holds_images,
    image_structs,
    tar_bytes,
    write_folder,
    write_table,
)


def test_files_with_hostile_names_are_named_in_one_line(tmp_path: Path, measure: Measuring) -> None:
    write_folder(tmp_path / "a", NAMED | {"-line\nbreak.png": b"bad"})
    with pytest.raises(DarkroomError, match=r"-line\\nbreak\.png") as caught:
        measure(tmp_path / "a")
    assert str(caught.value).isprintable()
    (tmp_path / "a" / "z\udcff.png").write_bytes(IMAGES[0])
    with pytest.raises(DarkroomError, match="a file's name is not UTF-8; rename it"):
        measure(tmp_path / "a")


def test_members_with_hostile_names_are_read_and_never_written(tmp_path: Path, measure: Measuring) -> None:
    names = ["../../up.png", "/tmp/absolute.png", "line\nbreak.png", "\x1b[31mred.png", "d/../../x.png"]
    (tmp_path / "a.tar").write_bytes(tar_bytes(zip(names, IMAGES[:5], strict=True)))
    before = sorted(tmp_path.rglob("*"))
    assert len(measure(tmp_path / "a.tar").ids) == 5
    assert sorted(path for path in tmp_path.rglob("*") if "cache" not in path.parts) == before
    for name in names[2:4]:
        (tmp_path / "b.tar").write_bytes(tar_bytes([(name, b"bad")]))
        with pytest.raises(DarkroomError, match="cannot be read as an image") as caught:
            measure(tmp_path / "b.tar")
        assert str(caught.value).isprintable()


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
    third = whole.index(b"002.png")
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
    with pytest.raises(DarkroomError, match=r"a\.parquet: row 7: no image bytes in it"):
        measure(tmp_path / "a.parquet")


def test_a_file_too_large_is_not_read(tmp_path: Path, measure: Measuring, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reference, "MAX_IMAGE_BYTES", max(map(len, IMAGES)))
    write_folder(tmp_path / "a", NAMED | {"large.png": bytes(5000)})
    (tmp_path / "a.tar").write_bytes(tar_bytes([*NAMED.items(), ("large.png", bytes(5000))]))
    write_table(tmp_path / "a.parquet", image=image_structs([*IMAGES, bytes(5000)]))
    for name, place in (("a", "/large.png"), ("a.tar", ": large.png"), ("a.parquet", ": row 7")):
        with pytest.raises(DarkroomError, match=f"{name}{place}: 5,000 bytes are more than the"):
            measure(tmp_path / name)


def test_image_columns_may_be_views(tmp_path: Path, measure: Measuring) -> None:
    structs = image_structs(IMAGES[:3]).cast(pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]))
    write_table(tmp_path / "data" / "0.parquet", image=structs)
    write_table(tmp_path / "data" / "1.parquet", image=pa.array(IMAGES[3:], pa.binary_view()))
    check_holds_images(measure(tmp_path / "data"))
