"""One input file: unpacked, turned to UTF-8, digested, and named when it cannot be read or has changed."""

import gzip
import hashlib
import os
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage.input_files import InputFile, listing_digest
from darkroom.storage.scanning import Kinds, locate, scan

KINDS = Kinds(frozenset({".txt"}), "texts", unpacks=True, has_etags=True)


def input_file(path: Path | str, endpoint_url: str | None = None) -> InputFile:
    (file,) = scan(locate(str(path), endpoint_url, "its.uri", "its.endpoint_url"), KINDS).files
    return file


def written(path: Path, data: bytes) -> InputFile:
    path.write_bytes(data)
    return input_file(path)


def text(file: InputFile) -> str:
    with file.open_text() as stream:
        return stream.read().decode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_text_is_unpacked_and_turned_to_utf_8(tmp_path: Path, encoding: str, pack: Callable[[bytes], bytes]) -> None:
    file = written(tmp_path / ("a.txt.gz" if pack is gzip.compress else "a.TXT"), pack("a café\n雪".encode(encoding)))
    assert (file.ending, text(file).removeprefix("\ufeff")) == (".txt", "a café\n雪")
    assert file.content_digest() == hashlib.sha256("a café\n雪".encode(encoding)).hexdigest()
    assert (file.text_digest("") == file.content_digest()) is (encoding == "utf-8")
    assert file.text_digest("otherwise") != file.text_digest("")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_without_a_byte_order_mark_the_likely_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    name = encoding.upper().replace("UTF-16-", "UTF-16").replace("UTF-32-", "UTF-32")
    with pytest.raises(DarkroomError, match=f"a.txt: not UTF-8 text; by its NUL bytes it is {name} without a byte"):
        text(written(tmp_path / "a.txt", "a tree\n".encode(encoding)))
    assert text(written(tmp_path / "b.txt", b"a \0 tree\n")) == "a \0 tree\n"  # one astray tells nothing


@pytest.mark.parametrize(
    ("name", "data", "is_empty"),
    [("a.txt", b"", True), ("a.txt", b"x", False), ("a.txt.gz", gzip.compress(b"", mtime=0), True),
     ("a.txt.gz", gzip.compress(b"x", mtime=0), False), ("a.txt", b"x" * 5000, False)],
)  # fmt: skip
def test_a_file_of_no_bytes_is_empty_packed_or_not(tmp_path: Path, name: str, data: bytes, is_empty: bool) -> None:
    assert written(tmp_path / name, data).is_empty is is_empty


def test_what_cannot_be_read_is_named_in_one_line(tmp_path: Path) -> None:
    broken = written(tmp_path / "a.txt.gz", b"not gzip at all")
    with pytest.raises(
        DarkroomError, match=r"a.txt.gz: cannot be read as txt \(.*\); check that it is whole"
    ) as caught:
        broken.content_digest()
    assert "\n" not in str(caught.value)


def test_a_change_is_seen_and_explains_what_it_breaks(tmp_path: Path) -> None:
    file = written(tmp_path / "a.txt", b"one")
    file.check_unchanged()
    os.utime(tmp_path / "a.txt", ns=(0, 0))
    with pytest.raises(DarkroomError, match=r"a.txt: changed since it was listed"):
        file.check_unchanged()
    (tmp_path / "a.txt").unlink()
    with pytest.raises(DarkroomError, match=r"a.txt: changed since it was listed"):
        file.read()


def test_an_etag_tells_of_a_change_within_a_second_and_of_the_content(s3_endpoint: str) -> None:
    client, key = boto3.client("s3", endpoint_url=s3_endpoint), f"{uuid.uuid4().hex}.txt"
    client.put_object(Bucket="bucket", Key=key, Body=b"one")
    first, same = (input_file(f"s3://bucket/{key}", s3_endpoint) for _ in range(2))
    assert first.state.etag
    assert first.content_digest() == same.content_digest()
    client.put_object(Bucket="bucket", Key=key, Body=b"two")
    with pytest.raises(DarkroomError, match=f"{key}: changed"):
        first.check_unchanged()
    assert input_file(f"s3://bucket/{key}", s3_endpoint).content_digest() != first.content_digest()


def test_equal_bytes_have_one_digest_wherever_they_lie_and_however_they_were_uploaded(
    s3_endpoint: str, tmp_path: Path
) -> None:
    client, name = boto3.client("s3", endpoint_url=s3_endpoint), uuid.uuid4().hex
    on_disk = written(tmp_path / "a.txt", b"one")
    client.put_object(Bucket="bucket", Key=f"{name}-whole.txt", Body=b"one")
    in_parts = {"Bucket": "bucket", "Key": f"{name}-parts.txt"}
    in_parts["UploadId"] = client.create_multipart_upload(**in_parts)["UploadId"]
    etag = client.upload_part(**in_parts, PartNumber=1, Body=b"one")["ETag"]
    client.complete_multipart_upload(**in_parts, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": etag}]})
    whole, parts = (input_file(f"s3://bucket/{name}-{how}.txt", s3_endpoint) for how in ("whole", "parts"))
    assert whole.state.etag != parts.state.etag
    assert on_disk.content_digest() == whole.content_digest() == parts.content_digest()
    older = [replace(each, is_known_by_etag=True).content_digest() for each in (on_disk, whole, parts)]
    assert len({*older, whole.content_digest()}) == 3  # a disk has no ETags
    assert older[1] == hashlib.sha256(f"{whole.state.etag} 3".encode()).hexdigest()


@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_who_reads_text_to_its_end_spares_another_reading_for_the_digest(tmp_path: Path, name: str) -> None:
    text = b"a cat\n" * 100_000
    file = written(tmp_path / name, gzip.compress(text) if name.endswith("gz") else text)
    with file.open_text() as stream:
        assert stream.read(10) == text[:10]  # which is not its end
    with file.open_text() as stream:
        while stream.read(1 << 16):
            pass
    (tmp_path / name).unlink()
    assert file.content_digest() == hashlib.sha256(text).hexdigest()


def test_a_listing_tells_of_a_change_once_files_have_settled(tmp_path: Path) -> None:
    files = [written(tmp_path / name, b"x") for name in ("a.txt", "b.txt")]
    assert listing_digest(files) is None
    before = time.time() - 60
    for name in ("a.txt", "b.txt"):
        os.utime(tmp_path / name, (before, before))
    settled = [input_file(tmp_path / name) for name in ("a.txt", "b.txt")]
    digest = listing_digest(settled, "images")
    assert digest == listing_digest(settled, "images") != listing_digest(settled, "tar")
    os.utime(tmp_path / "b.txt", (before - 1, before - 1))
    assert listing_digest([settled[0], input_file(tmp_path / "b.txt")], "images") not in (digest, None)
