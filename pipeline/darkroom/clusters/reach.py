"""What a cluster cannot see of what a job names: folders of this machine, and servers on its loopback."""

import ipaddress
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from darkroom.domain.errors import DarkroomError

_ADDRESS = re.compile(r"https?://\S+", re.IGNORECASE)
_FILE = "file://"
_LOOPBACK = {"localhost", "localhost.localdomain", "ip6-localhost"}
_REMEDY = "copy it to s3://..., or to a folder that all machines share, and name that folder as shared=[/mnt/data]"


class Names(Enum):
    """What a text of a configuration may name."""

    PLACE = "an address or a path"
    MODEL = "an address, a path or a hub id"
    PICTURE = "an address, or a path from sampling.images_uri"
    ANYTHING = "no path"


@dataclass(frozen=True)
class Text:
    """A text of a job's configuration."""

    key: str
    value: str
    names: Names

    def __str__(self) -> str:
        return f"{self.key}={self.value}"


def check_reach(texts: Iterable[Text], shared: Sequence[str]) -> None:
    """Raises DarkroomError for the first that names what only this machine sees.

    `shared`: absolute folders that every machine of the cluster sees as this one does.
    """
    folders = [_shared_folder(folder) for folder in shared]
    for text in texts:
        if host := _loopback_in(text.value):
            raise DarkroomError(
                f"{text}: {host} is another machine there than here; give the address by which the cluster's machines "
                "reach the server"
            )
        if path := _path(text):
            _check_path(text, path, folders)


def _shared_folder(folder: str) -> PurePosixPath:
    path = PurePosixPath(os.path.normpath(folder))
    if not path.is_absolute() or path == PurePosixPath("/"):
        raise DarkroomError(f"shared={folder}: give the absolute path of a folder that all machines share")
    return path


def _check_path(text: Text, path: str, shared: Sequence[PurePosixPath]) -> None:
    if not PurePosixPath(path).is_absolute():
        whole = PurePosixPath(os.path.abspath(path))  # noqa: PTH100, no link is followed
        remedy = f"write {whole}" if _is_below(whole, shared) else _REMEDY
        raise DarkroomError(f"{text}: a relative path is another one on the cluster; {remedy}")
    if not _is_below(PurePosixPath(os.path.normpath(path)), shared):
        raise DarkroomError(f"{text}: the cluster does not see this machine's folders; {_REMEDY}")


def _is_below(path: PurePosixPath, shared: Sequence[PurePosixPath]) -> bool:
    return any(path.is_relative_to(folder) for folder in shared)


def _path(text: Text) -> str:
    """The path that the text is; empty for an address, a hub id or any other text."""
    value = text.value
    if text.names is Names.ANYTHING:
        return ""
    if value.startswith(_FILE):
        return value.removeprefix(_FILE)
    if "://" in value:
        return ""
    value = os.path.expanduser(value)  # noqa: PTH111, as the job reads it
    if text.names is Names.PICTURE:
        return value if PurePosixPath(value).is_absolute() else ""
    return value if text.names is Names.PLACE or _is_path(value) else ""


def _is_path(value: str) -> bool:
    """Where it may be a hub id: what lies here wins, as it does for the job, and a hub id has a slash."""
    if value.startswith(("/", "./", "../")) or (value.endswith(".safetensors") and "/" not in value):
        return True
    try:
        return Path(value).exists()
    except (OSError, ValueError):  # too long for a name, or with a zero byte
        return False


def _loopback_in(value: str) -> str:
    """The host of the first address in the text that is this machine to itself; empty where there is none."""
    for found in _ADDRESS.finditer(value):
        try:
            host = (urlsplit(found[0]).hostname or "").lower()
        except ValueError:
            continue
        if host in _LOOPBACK or host.endswith(".localhost") or _is_loopback(host):
            return host
    return ""


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified
