"""Every kind of reference holds the images that were put into it, whatever way they were put there."""

import hashlib
import io
import os
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path

import boto3
import numpy as np
import pyarrow as pa
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.features.opening import load_extractor
from darkroom.metrics.moments import FeatureMoments, from_npz, to_npz
from darkroom.references.decoding import ENDINGS, decode
from darkroom.references.opening import open_reference
from darkroom.references.reference import ImageFile, ReferenceFeatures, ReferenceSpec
from darkroom.references.statistics import write_statistics
from darkroom.runs.encoding import encode
from tests.references.making import (
    PIXELS,
    Measuring,
    encoded,
    image_structs,
    pictures,
    tar_bytes,
    write_folder,
    write_table,
)

IMAGES = encoded(7)


def named(images: Sequence[bytes], ending: str = "png") -> dict[str, bytes]:
    return {f"{number:03}.{ending}": data for number, data in enumerate(images)}


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


def check_holds_images(found: ReferenceFeatures) -> None:
    by_id = {hashlib.sha256(data).hexdigest(): row for row, data in enumerate(IMAGES)}
    expected = load_extractor(PIXELS).features(pictures(7))[[by_id[each] for each in found.ids]]
    assert list(found.ids) == sorted(by_id)
    assert found.features is not None
    assert found.features.dtype == np.float32
    np.testing.assert_array_equal(found.features, expected)
    assert found.digest == hashlib.sha256("\n".join(sorted(by_id)).encode()).hexdigest()
    assert found.gaussian.count == 7
    np.testing.assert_allclose(found.gaussian.covariance, np.cov(expected.T), atol=1e-9)


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


def test_every_image_format_is_read(tmp_path: Path, measure: Measuring) -> None:
    from PIL import Image

    flat = np.full((8, 8, 3), 77, np.uint8)
    lossless = {"a.png": encode(flat, "png", 0, {}), "b.jpeg": encode(flat, "jpeg", 95, {})}
    folder = write_folder(tmp_path / "all", lossless | {"c.WebP": encode(flat, "webp", 90, {})})
    Image.fromarray(flat).save(folder / "d.bmp")
    Image.fromarray(flat[..., 0]).save(folder / "e.jpg")
    Image.fromarray(flat).convert("RGBA").save(folder / "f.png")
    found = measure(folder)
    assert found.features is not None
    np.testing.assert_allclose(found.features, 77 / 255, atol=2 / 255)
    assert len(found.ids) == 6


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
    write_statistics(of_images, tmp_path / "statistics.npz")
    found = measure(tmp_path / "statistics.npz")
    assert (found.ids, found.features, found.gaussian.count) == ((), None, None)
    assert found.digest == hashlib.sha256((tmp_path / "statistics.npz").read_bytes()).hexdigest()
    np.testing.assert_array_equal(found.gaussian.mean, of_images.gaussian.mean)
    np.testing.assert_array_equal(found.gaussian.covariance, of_images.gaussian.covariance)
    assert measure.num_loaded == 1


def test_statistics_are_written_as_pytorch_fid_reads_them(tmp_path: Path) -> None:
    gaussian = FeatureMoments.of(np.random.default_rng(0).normal(size=(9, 3))).gaussian()
    write_statistics(ReferenceFeatures("x", "y", (), None, gaussian), tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as archive:
        np.testing.assert_array_equal(archive["mu"][:], gaussian.mean)
        np.testing.assert_array_equal(archive["sigma"][:], gaussian.covariance)
    assert from_npz((tmp_path / "a.npz").read_bytes()).count is None
    for path, message in ((tmp_path / "a.pt", "ends in .npz"), (tmp_path / "no" / "a.npz", "cannot be written")):
        with pytest.raises(DarkroomError, match=message):
            write_statistics(ReferenceFeatures("x", "y", (), None, gaussian), path)


def test_statistics_of_another_extractor_are_refused(tmp_path: Path, measure: Measuring) -> None:
    (tmp_path / "fid.npz").write_bytes(to_npz(np.zeros(2048), np.eye(2048)))
    with pytest.raises(DarkroomError, match="statistics of 2048 dimensions, but extractor pixels has 192"):
        measure(tmp_path / "fid.npz")


def test_every_format_that_is_read_safely_is_measured(tmp_path: Path, measure: Measuring) -> None:
    from PIL import Image

    flat = Image.fromarray(np.full((8, 8, 3), 77, np.uint8))
    for ending in sorted(ENDINGS):
        path = tmp_path / "all" / f"{ending[1:]}{ending.upper()}"
        path.parent.mkdir(exist_ok=True)
        flat.convert("1" if ending == ".pbm" else "RGB").save(path, _FORMAT_OF.get(ending))
    found = measure(tmp_path / "all")
    assert len(found.ids) == found.gaussian.count
    same = np.abs(found.features - 77 / 255).max(axis=1) < 3 / 255
    assert np.count_nonzero(~same) == 1  # the bitmap, which is black
    assert found.gaussian.count == len(list((tmp_path / "all").iterdir()))


_FORMAT_OF = {".apng": "PNG", ".jfif": "JPEG", ".jpe": "JPEG", ".dib": "BMP", ".pnm": "PPM", ".pbm": "PPM"}


def _gray(kind: str) -> np.ndarray:
    return np.linspace(0, 65535, 64).reshape(8, 8).astype(kind)


@pytest.mark.parametrize(("image_format", "kind"), [("PNG", "<u2"), ("TIFF", "<u2"), ("TIFF", ">u2"), ("PPM", "<i4")])
def test_gray_of_sixteen_bits_is_scaled(image_format: str, kind: str) -> None:
    found = decode(ImageFile("a", _saved(_gray(kind), image_format)))
    np.testing.assert_array_equal(found, np.repeat((_gray("f8") / 257).round().astype(np.uint8)[..., None], 3, 2))


@pytest.mark.parametrize("kind", ["<i4", "<f4"])
def test_numbers_of_no_known_white_are_refused(kind: str) -> None:
    with pytest.raises(DarkroomError, match="32-bit numbers of no known range; convert it to 8 or 16 bits"):
        decode(ImageFile("a", _saved(_gray(kind), "TIFF")))


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [("1", "PNG"), ("L", "GIF"), ("LA", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("CMYK", "TIFF")],
)
def test_other_modes_become_the_colours_that_they_mean(mode: str, image_format: str) -> None:
    from PIL import Image

    colour = np.full((8, 8, 3), 255, np.uint8)
    colour[:4] = 0
    buffer = io.BytesIO()
    image = Image.fromarray(colour).convert(mode)
    image.save(buffer, image_format, **({"transparency": 0} if mode == "P" else {}))
    np.testing.assert_array_equal(decode(ImageFile("a", buffer.getvalue())), colour)


def _saved(values: np.ndarray, image_format: str) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, image_format)
    return buffer.getvalue()


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("gone"), os.mkfifo])
def test_what_is_called_an_image_and_is_no_file_is_refused(tmp_path: Path, make: Callable[[Path], None]) -> None:
    folder = write_folder(tmp_path / "a", named(IMAGES))
    make(folder / "x.png")
    with pytest.raises(DarkroomError, match=r"x.png: a pipe, or a link that leads nowhere; mend or remove it"):
        open_reference(ReferenceSpec(str(folder)))


def test_what_is_not_read_is_counted(tmp_path: Path) -> None:
    others = {"a.heic": b"x", "b.HEIC": b"x", "c.txt": b"x", "d": b"x"}
    reference = open_reference(ReferenceSpec(str(write_folder(tmp_path / "a", named(IMAGES) | others))))
    assert (reference.num_images, reference.left_out) == (7, "1 without an ending, 2 .heic, 1 .txt")
    assert not open_reference(ReferenceSpec(str(write_folder(tmp_path / "b", named(IMAGES))))).left_out


def test_image_columns_may_be_views(tmp_path: Path, measure: Measuring) -> None:
    structs = image_structs(IMAGES[:3]).cast(pa.struct([("bytes", pa.binary_view()), ("path", pa.string_view())]))
    write_table(tmp_path / "data" / "0.parquet", image=structs)
    write_table(tmp_path / "data" / "1.parquet", image=pa.array(IMAGES[3:], pa.binary_view()))
    check_holds_images(measure(tmp_path / "data"))
