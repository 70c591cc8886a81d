"""From an address to prompt files: a path, a folder, a glob or s3://. Knows file systems; knows no format."""

import os
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from darkroom.domain.errors import DarkroomError, credentials_in
from darkroom.prompts.files import PromptFile, state_of
from darkroom.prompts.listing import base_of, listed

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class Found:
    files: tuple[PromptFile, ...]  # sorted by path
    partitions: tuple[Mapping[str, str | None], ...]  # of each file: what its folders say, as in `lang=en/`
    warnings: tuple[str, ...]


def find_files(uri: str, endings: frozenset[str], endpoint_url: str | None = None) -> Found:
    """The files that an address names: one file, or those of a folder or a glob that are meant as prompts."""
    _check_address("prompts.uri", uri)
    _check_address("prompts.endpoint_url", endpoint_url or "")
    filesystem, path, prefix = _locate(uri, endpoint_url)
    try:
        listing = listed(filesystem, path, endings)
        files = tuple(
            PromptFile(_name(uri, path, prefix, each), filesystem, each, state_of(filesystem, each))
            for each in listing.paths
        )
    except (OSError, pa.ArrowException) as error:
        reason = str(error).strip().split("\n")[0]
        raise DarkroomError(f"prompts.uri={uri}: cannot be reached ({reason}); check the address and access") from error
    if not files:
        left_out = "".join(f"; {warning}" for warning in listing.warnings)
        raise DarkroomError(
            f"prompts.uri={uri}: no such file, or nothing there to read{left_out}; needed {_listed(endings)}"
        )
    for file in files:
        _check_file(file, endings)
    partitions = tuple(_partitions(file.path[len(listing.base) :]) for file in files)
    warnings = [*listing.warnings, *_mixed(files, uri.rstrip("/") if listing.base == path else base_of(uri))]
    return Found(files, partitions, tuple(f"{uri}: {warning}" for warning in warnings))


def _mixed(files: Sequence[PromptFile], folder: str) -> Iterator[str]:
    """Tables of several kinds: often the same rows, written twice."""
    counts = sorted(Counter(file.ending for file in files).items())
    if len(counts) > 1:
        said = " and ".join(f"{count} {ending}" for ending, count in counts)
        one_kind = shlex.quote(f"prompts.uri={folder or '.'}/**/*{counts[0][0]}")
        yield f"{said} are read together; if they hold the same rows, give one kind as {one_kind}"


def _check_file(file: PromptFile, endings: frozenset[str]) -> None:
    if file.ending not in endings:
        raise DarkroomError(
            f"{file.name}: ending {file.ending!r} is not that of a prompt file; needed {_listed(endings)}"
        )
    if file.state.size < 0:
        raise DarkroomError(f"{file.name}: nothing is there, as when a link leads nowhere; mend or remove it")


def _partitions(path: str) -> dict[str, str | None]:
    """What the folders of a path say, as Hive, Spark, DuckDB and Arrow name them."""
    said = [folder.partition("=") for folder in path.split("/")[:-1]]
    return {
        unquote(name): None if value == _NO_VALUE else unquote(value) for name, equals, value in said if name and equals
    }


def _check_address(setting: str, address: str) -> None:
    """Refused without being repeated."""
    _, is_address, rest = address.partition("://")
    if is_address and "@" in rest.split("/")[0]:
        raise credentials_in(setting)


def _locate(uri: str, endpoint_url: str | None) -> tuple[fs.FileSystem, str, str]:
    """File system, path in it, and what a path lacks to be an address."""
    if uri.startswith("s3://"):
        path = uri.removeprefix("s3://").strip("/")
        return _s3(path.split("/")[0], endpoint_url), path, "s3://"
    if "://" in uri and not uri.startswith("file://"):
        scheme = uri.split("://")[0]
        raise DarkroomError(f"prompts.uri={scheme}://...: only local paths and s3:// are read; copy the file to one")
    local = Path(uri.removeprefix("file://")).expanduser()
    return fs.LocalFileSystem(), os.path.normpath(local.absolute()), ""


def _s3(bucket: str, endpoint_url: str | None) -> fs.S3FileSystem:
    """Credentials and region come from where AWS tools look for them; without a region, the bucket is asked."""
    endpoint_url = endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if endpoint_url:
        parts = urlsplit(endpoint_url)
        return fs.S3FileSystem(endpoint_override=parts.netloc or endpoint_url, scheme=parts.scheme or "https")
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        return fs.S3FileSystem()
    try:
        return fs.S3FileSystem(region=fs.resolve_s3_region(bucket))
    except OSError:
        return fs.S3FileSystem()  # let the first request say what is wrong


def _name(uri: str, path: str, prefix: str, found: str) -> str:
    if found == path:
        return uri
    if prefix:
        return prefix + found
    base, given = base_of(path), base_of(uri.removeprefix("file://").rstrip("/"))
    return f"{given}/{found[len(base) :].lstrip('/')}" if given else found[len(base) :].lstrip("/")


def _listed(endings: frozenset[str]) -> str:
    return "one of " + " ".join(sorted(endings)) + " (or one of these and .gz)"
