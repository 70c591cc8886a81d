"""What an address names, on a disk and in a bucket: files of interest, what is left out and said, and links."""

import os
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import boto3
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.storage.input_files import InputFile
from darkroom.storage.scanning import Kinds, Place, Scan, fixed_part, locate, matches, scan

KINDS = Kinds(frozenset({".csv", ".txt"}), "tables", unpacks=True, hidden="._")
Scanner = Callable[..., Scan]


def place(uri: str, endpoint_url: str | None = None) -> Place:
    return locate(uri, endpoint_url, "its.uri", "its.endpoint_url")


def names(found: Scan) -> list[str]:
    """Paths of the files, from the folder that all lie in."""
    return [file.path[len(found.base) :].strip("/") for file in found.files]


@pytest.fixture(params=["disk", "bucket"])
def put(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Iterable[str]], Scanner]:
    """Puts files somewhere; gives what scans an address relative to them."""

    def on_disk(files: Iterable[str]) -> Scanner:
        for name in files:
            (tmp_path / "ds" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "ds" / name).write_text(name)
        return lambda rest="", kinds=KINDS: scan(place(f"{tmp_path}/ds{rest}"), kinds)

    def in_bucket(files: Iterable[str]) -> Scanner:
        endpoint = request.getfixturevalue("s3_endpoint")
        client, prefix = boto3.client("s3", endpoint_url=endpoint), uuid.uuid4().hex
        for name in files:
            client.put_object(Bucket="bucket", Key=f"{prefix}/{name}", Body=name.encode())
        return lambda rest="", kinds=KINDS: scan(place(f"s3://bucket/{prefix}{rest}", endpoint), kinds)

    return on_disk if request.param == "disk" else in_bucket


@pytest.mark.slow
def test_a_folder_or_a_glob_means_files_of_interest_and_says_what_is_left_out(put: Callable) -> None:
    scanned = put(["b/c.csv", "a.CSV", "d.csv.gz", "e.md", "b/f", ".g.csv", "_h/i.csv", "b/.j/k.csv"])
    for rest, expected in {
        "": ["a.CSV", "b/c.csv", "d.csv.gz"],
        "/**": ["a.CSV", "b/c.csv", "d.csv.gz"],
        "/**/*": ["a.CSV", "b/c.csv", "d.csv.gz"],
        "/*": ["a.CSV", "d.csv.gz"],
        "/?/c.[a-c]sv": ["b/c.csv"],
        "/**/[!a].csv": ["b/c.csv"],
        "/b/c.csv": ["c.csv"],
        "/b/.j/*": ["k.csv"],
        "/_h/*": ["i.csv"],
        "/_*/*": ["_h/i.csv"],
        "/.*": [".g.csv"],
        "/nothing/*.csv": [],
        "/nothing": [],
    }.items():
        assert names(scanned(rest)) == expected, rest
    assert scanned().left_out == ("left out b/f, e.md (not tables by their endings)",)
    assert scanned("/*.csv").left_out == ()
    assert names(scanned("", Kinds(frozenset({".gz"}), "archives"))) == ["d.csv.gz"]


def test_what_is_excluded_is_said_with_its_reason(put: Callable) -> None:
    def exclude(files: Iterable[InputFile]) -> list[InputFile]:
        return [file for file in files if file.ending == ".txt"]

    scanned = put([f"{number}.txt" for number in range(8)] + ["a.csv"])
    found = scanned("", Kinds(frozenset({".csv", ".txt"}), "tables", exclude=exclude, exclude_reason="notes"))
    assert names(found) == ["a.csv"]
    assert found.left_out == ("left out 0.txt, 1.txt, 2.txt, 3.txt, 4.txt and 3 more (notes)",)
    assert names(scanned("/3.txt")) == ["3.txt"]  # a file that is named itself is read


def test_files_are_called_as_the_user_would_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ds [1]").mkdir()
    (tmp_path / "ds [1]" / "a[b].csv").write_text("x")
    (tmp_path / "line\nbreak.csv").write_text("x")
    for uri, name in {
        "ds [1]": "ds [1]/a[b].csv",
        "./ds*/*.csv": "./ds [1]/a[b].csv",
        "*/*.csv": "ds [1]/a[b].csv",
        "ds [1]/a[b].csv": "ds [1]/a[b].csv",
        f"file://{tmp_path}/ds%20[1]": f"{tmp_path}/ds [1]/a[b].csv",
        "*.csv": r"'line\nbreak.csv'",
    }.items():
        assert [file.name for file in scan(place(uri), KINDS).files] == [name], uri


def test_a_link_names_what_it_is_called_and_not_what_it_leads_to(tmp_path: Path) -> None:
    """As files lie in the cache of the Hugging Face hub."""
    (tmp_path / "blob").write_text("x")
    (tmp_path / "p.csv").symlink_to(tmp_path / "blob")
    (file,) = scan(place(str(tmp_path / "p.csv")), KINDS).files
    assert (file.ending, file.read()) == (".csv", b"x")


def test_links_in_circles_are_entered_once(tmp_path: Path) -> None:
    ds = tmp_path / "ds"
    (ds / "deep").mkdir(parents=True)
    (ds / "deep" / "a.txt").write_text("a cat")
    for name, target in {"x": ds, "y": ds, "deep/z": ds / "deep", "other": ds / "deep"}.items():
        (ds / name).symlink_to(target)
    for rest in ("", "/**/*.txt", "/**"):
        assert [file.read() for file in scan(place(f"{ds}{rest}"), KINDS).files] == [b"a cat"]


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("gone.csv"), os.mkfifo])
def test_what_is_no_file_is_named(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (tmp_path / "a.csv").write_text("x")
    make(tmp_path / "b.csv")
    with pytest.raises(DarkroomError, match=r"b.csv: a pipe, or a link that leads nowhere; mend or remove it"):
        scan(place(str(tmp_path)), KINDS)
    assert names(scan(place(f"{tmp_path}/a*"), KINDS)) == ["a.csv"]


def test_a_name_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "z\udcff.csv").write_text("x")
    with pytest.raises(DarkroomError, match=r"its.uri=.*: a file's name is not UTF-8; rename it"):
        scan(place(str(tmp_path)), KINDS)


@pytest.mark.parametrize(
    ("uri", "endpoint_url", "message"),
    [
        ("s3://me:secret@bucket/x", None, "its.uri: credentials in an address"),
        ("http://me:secret@host/x", None, "its.uri: credentials in an address"),
        ("s3://bucket/x", "http://me:secret@host", "its.endpoint_url: credentials in an address"),
        ("s3://", None, "its.uri: s3:// without a bucket"),
        ("ftp://host/secret", None, "its.uri: ftp:// is not read from; use a folder or s3://"),
        ("s3://bucket/x", "nonsense", "its.endpoint_url: no usable address"),
    ],
)
def test_an_address_of_no_use_is_refused_by_the_setting_that_gave_it(
    uri: str, endpoint_url: str | None, message: str
) -> None:
    with pytest.raises(DarkroomError, match=message) as caught:
        place(uri, endpoint_url)
    assert "secret" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said(s3_endpoint: str) -> None:
    for uri in ("s3://no-such-bucket/x.csv", "s3://no-such-bucket/*.csv"):
        with pytest.raises(DarkroomError, match=r"its.uri: .*the bucket does not exist"):
            place(uri, s3_endpoint)


@pytest.mark.parametrize(
    ("path", "pattern", "expected"),
    [
        ("a", "*", True),
        ("a/b", "*", False),
        ("a/b", "**", True),
        ("a", "**/*", True),
        ("a/b/c", "**/c", True),
        ("a/b/c", "a/**/c", True),
        ("a/c", "a/**/c", True),
        ("a/b/c", "a/*/c", True),
        ("a/b/c", "*/c", False),
        ("x.png", "*.[pj]*", True),
        ("x.png", "[!x]*", False),
        ("a[1", "a[1", True),
        ("X", "x", False),
    ],
)
def test_globs(path: str, pattern: str, expected: bool) -> None:
    assert matches(path.split("/"), pattern.split("/")) is expected


def test_all_files_of_a_glob_lie_below_its_fixed_part() -> None:
    found = [fixed_part(path) for path in ("/a/b", "/a/*/b", "*/b", "/a/b[1]/c", "/?", "")]
    assert found == ["/a/b", "/a", "", "/a", "", ""]
