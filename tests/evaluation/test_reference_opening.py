"""Every kind of reference is opened, from files with hostile names, damage and other rows; others are refused."""

import hashlib
import io
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation import reference
from darkroom.evaluation.reference import ReferenceSpec
from darkroom.evaluation.reference_opening import named_references, open_reference, open_references
from tests.evaluation.references import (
    IMAGES,
    NAMED,
    Measuring,
    check_holds_images,
    image_structs,
    named,
    npz,
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


def _folder(path: Path) -> Path:
    folders = ("", "deep/er/", "sp ace/")
    images = {f"{folders[number % 3]}é#{number}.PNG": data for number, data in enumerate(IMAGES)}
    hidden = {".hidden.png": b"no image", ".git/x.png": b"no image", "notes.txt": b"no image", "labels.csv": b"x"}
    return write_folder(path / "pictures", images | hidden)


def _glob(path: Path) -> str:
    write_folder(path / "set [1]" / "a", named(IMAGES[:3]))
    write_folder(path / "set [1]" / "b", named(IMAGES[3:]))
    write_folder(path / "set [1]" / "c", {"0.webp": b"no image"})
    return f"{path}/set [[]1]/**/0*.png"


def _tar(path: Path) -> Path:
    texts = [("0.txt", b"words"), ("0.json", b"{}"), ("._0.png", b"no image")]
    return write_folder(path, {"a.tar": tar_bytes([*texts, *named(IMAGES).items()])}) / "a.tar"


def _tars(path: Path) -> str:
    parts = {f"{n}.tar": tar_bytes(named(part).items()) for n, part in enumerate((IMAGES[:3], IMAGES[3:]))}
    write_folder(path, parts)
    return f"{path}/*.tar"


def _parquet(path: Path) -> Path:
    return write_table(path / "a.parquet", label=pa.array(range(7)), image=image_structs(IMAGES))


def _parquet_of_bytes(path: Path) -> Path:
    write_table(path / "data" / "0.parquet", image=pa.array(IMAGES[:3], pa.large_binary()), key=pa.array([b"k"] * 3))
    write_table(path / "data" / "1.parquet", jpg=pa.array(IMAGES[3:], pa.binary()), text=pa.array(["x"] * 4))
    return path / "data"


@pytest.mark.parametrize("make", [_folder, _glob, _tar, _tars, _parquet, _parquet_of_bytes])
def test_all_images_and_no_others_are_measured(tmp_path: Path, measure: Measuring, make: Callable) -> None:
    check_holds_images(measure(make(tmp_path)))


@pytest.mark.slow
@pytest.mark.parametrize("what", ["folder", "glob", "tar"])
def test_a_bucket_is_read_as_a_folder_is(s3_endpoint: str, measure: Measuring, what: str) -> None:
    client, prefix = boto3.client("s3", endpoint_url=s3_endpoint), uuid.uuid4().hex
    objects = {"x.tar": tar_bytes(named(IMAGES).items())} if what == "tar" else named(IMAGES)
    for name, data in objects.items():
        client.put_object(Bucket="bucket", Key=f"{prefix}/in here/{name}", Body=data)
    rest = {"folder": "", "glob": "/in*/*.png", "tar": "/in here/x.tar"}[what]
    check_holds_images(measure(f"s3://bucket/{prefix}{rest}", s3_endpoint))
    with pytest.raises(DarkroomError, match="nothing is there"):
        open_reference(ReferenceSpec(f"s3://bucket/{prefix}/elsewhere", s3_endpoint))


def test_the_first_look_says_how_many_images_there_are(tmp_path: Path) -> None:
    looks = {
        "images": (_folder(tmp_path), 7),
        "webdataset": (_tar(tmp_path), None),
        "parquet": (_parquet(tmp_path), 7),
        "demo": ("demo", 512),
    }
    for kind, (text, count) in looks.items():
        reference = open_reference(ReferenceSpec(str(text)))
        assert (reference.name, reference.kind, reference.num_images) == (str(text), kind, count)


def test_figures_do_not_depend_on_what_files_are_called(tmp_path: Path, measure: Measuring) -> None:
    first = measure(write_folder(tmp_path / "a", named(IMAGES)))
    second = measure(write_folder(tmp_path / "b", named(IMAGES[::-1])))
    assert (first.digest, first.ids) == (second.digest, second.ids)
    np.testing.assert_array_equal(first.features, second.features)


def test_an_image_that_is_there_twice_counts_twice(tmp_path: Path, measure: Measuring) -> None:
    found = measure(write_folder(tmp_path / "a", named([*IMAGES, IMAGES[0]])))
    assert found.gaussian.count == len(found.ids) == 8


def test_links_are_followed_but_not_in_circles(tmp_path: Path, measure: Measuring) -> None:
    images = write_folder(tmp_path / "a", named(IMAGES[:4]))
    more = write_folder(tmp_path / "b", named(IMAGES[4:]))
    (images / "circle").symlink_to(images)
    (images / "more").symlink_to(more)
    (images / "gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(images / "pipe")
    check_holds_images(measure(images))


def test_statistics_are_a_gaussian_alone(tmp_path: Path, measure: Measuring) -> None:
    of_images = measure(write_folder(tmp_path / "images", named(IMAGES)))
    statistics = npz(mu=of_images.gaussian.mean, sigma=of_images.gaussian.covariance)
    (tmp_path / "statistics.npz").write_bytes(statistics)
    found = measure(tmp_path / "statistics.npz")
    assert (found.ids, found.features, found.gaussian.count) == ((), None, None)
    assert found.digest == hashlib.sha256(statistics).hexdigest()
    np.testing.assert_array_equal(found.gaussian.mean, of_images.gaussian.mean)
    np.testing.assert_array_equal(found.gaussian.covariance, of_images.gaussian.covariance)
    assert measure.num_loaded == 1


@pytest.mark.slow
def test_statistics_of_another_extractor_are_refused(tmp_path: Path, measure: Measuring) -> None:
    (tmp_path / "fid.npz").write_bytes(npz(mu=np.zeros(2048), sigma=np.eye(2048)))
    with pytest.raises(DarkroomError, match="statistics of 2048 dimensions, but extractor pixels has 192"):
        measure(tmp_path / "fid.npz")


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("gone"), os.mkfifo])
def test_what_is_called_an_image_and_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = write_folder(tmp_path / "a", named(IMAGES))
    make(folder / "x.png")
    with pytest.raises(DarkroomError, match=r"x.png: a pipe, or a link that leads nowhere; mend or remove it"):
        open_reference(ReferenceSpec(str(folder)))


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    others = {"a.heic": b"x", "b.HEIC": b"x", "c.txt": b"x", "d": b"x"}
    reference = open_reference(ReferenceSpec(str(write_folder(tmp_path / "a", named(IMAGES) | others))))
    assert reference.num_images == 7
    assert reference.left_out == ("left out a.heic, b.HEIC, c.txt, d (not images by their endings)",)
    assert not open_reference(ReferenceSpec(str(write_folder(tmp_path / "b", named(IMAGES))))).left_out


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
    return write_folder(path, {"a.npz": npz(mu=np.zeros(2), sigma=np.eye(2))[:-30]}) / "a.npz"


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
        (lambda path: "{a.b: photos}", r"\{a\.b: photos\}: nothing is there; .+ several have names of letters, digits"),
        (lambda path: "[photos,demo]", r"one address: several .+ where a job takes several"),
        (_empty, "empty: nothing is there"),
        (_no_images, r"none: no image is there; left out a.txt \(not images by their endings\); give demo"),
        (_mixed, r"it holds 5 \.png, 1 \.tar; name one kind of them"),
        (_one, "one image found; give at least two"),
        (_npz, r"a\.npz: .* no \.npz of numbers"),
        (_table(a=pa.array([1]), b=pa.array(["x"])), "no column holds images; its columns are a, b; name the one"),
        (_table(a=pa.array([b"x"]), b=image_structs([b"x"])), "2 columns may hold images; its columns are a, b"),
        (_broken_table, r"a\.parquet: cannot be read as parquet \(.*\); check that it is whole"),
        (_run_json, r"run\.json: not readable as a run's description"),
        (lambda _: "ftp://host/x", "reference: ftp:// is not read from; use a folder or s3://"),
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


@pytest.mark.slow
def test_a_bucket_that_is_not_there_is_said_at_once(s3_endpoint: str) -> None:
    with pytest.raises(DarkroomError, match=r"reference: .*the bucket does not exist"):
        open_reference(ReferenceSpec("s3://no-such-bucket/x", s3_endpoint))
    with pytest.raises(DarkroomError, match="reference_endpoint_url: no usable address"):
        open_reference(ReferenceSpec("s3://bucket/x", "nonsense"))


def test_several_references_are_called_by_the_ends_of_their_addresses_or_as_they_are_named() -> None:
    assert named_references(None) == {}
    assert named_references("photos/*.jpg") == named_references(["photos/*.jpg"]) == {"": "photos/*.jpg"}
    given = ["demo", "s3://b/coco/*.jpg", "/data/val2014.npz", "runs/a#0123456789abcdef", "my photos/"]
    assert list(named_references(given)) == ["demo", "coco", "val2014", "a_0123456789abcdef", "my_photos"]
    assert named_references({"one": "x"}) == {"one": "x"}
    for wrong, message in (
        (["a/x", "b/x"], "a/x and b/x would both be called x; give names"),
        ({"a.b": "x"}, "the name 'a.b' cannot be part of a figure's"),
        ([], "names none"),
        (["*.jpg", "demo"], r"\*\.jpg has no name"),
    ):
        with pytest.raises(DarkroomError, match=message):
            named_references(wrong)


@pytest.mark.slow
def test_of_several_references_an_endpoint_is_of_those_in_a_bucket(s3_endpoint: str, tmp_path: Path) -> None:
    client, prefix = boto3.client("s3", endpoint_url=s3_endpoint), uuid.uuid4().hex
    for name, data in named(IMAGES).items():
        client.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=data)
        (tmp_path / name).write_bytes(data)
    found = open_references({"away": f"s3://bucket/{prefix}", "here": str(tmp_path), "demo": "demo"}, s3_endpoint)
    assert {name: each.num_images for name, each in found.items()} == {
        "away": len(IMAGES), "here": len(IMAGES), "demo": 512
    }  # fmt: skip
    with pytest.raises(DarkroomError, match="reference_endpoint_url"):
        open_references({"here": str(tmp_path), "there": str(tmp_path)}, s3_endpoint)
