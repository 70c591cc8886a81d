"""Input files of the web, such as https://host/prompts.csv and hf://datasets/user/name/data: copied to this machine's
cache, and read there.

An address is asked again by each command, and copied again only where it holds something else by then.
"""

import http.client
import json
import os
import time
import urllib.request
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit

from pyarrow import fs

from darkroom.domain.errors import DarkroomError, TryAgain, credentials_in, has_credentials
from darkroom.domain.identity import digest
from darkroom.domain.process import cache_folder
from darkroom.domain.progress import readable_bytes
from darkroom.storage.disk import locked
from darkroom.storage.input_files import COMPRESSIONS, reason_of
from darkroom.storage.scanning import Place, fixed_part

HUB = "hf://datasets/"
MOST_BYTES = 16 << 30
_TIMEOUT_S = 30.0  # without a byte
_DELAYS_S = (1.0, 2.0, 4.0, 8.0)  # between tries
_WAIT_S = 3600.0  # for another process that copies the same
_CHUNK_BYTES = 1 << 20
_ABOUT = "about.json"  # beside a copy: what it is called, and the ETag that it had
_LATER = (408, 425, 429)  # replies below 500 that another try may mend
_PAGES = ("text/html", "application/xhtml+xml")
_ENDINGS = {  # of addresses that have none
    "text/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "text/plain": ".txt",
    "application/jsonl": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/vnd.apache.parquet": ".parquet",
}


def is_web(uri: str) -> bool:
    return uri.startswith(("https://", "http://", "hf://"))


def web_place(uri: str, setting: str, endings: Collection[str], most_bytes: int = MOST_BYTES) -> Place:
    """What lies at an address, once it is copied: a file, or of a dataset of the Hugging Face hub also a folder or a
    glob, of which the files with these endings are copied.

    Raises DarkroomError for what cannot be had, and TryAgain for what cannot be had now.
    """
    if "@" in urlsplit(uri).netloc or has_credentials(uri):
        raise credentials_in(setting)
    path = _from_hub(uri, setting, endings, most_bytes) if uri.startswith("hf:") else fetched(uri, setting, most_bytes)
    return Place(uri, setting, fs.LocalFileSystem(), str(path))


# Any server ----------------------------------------------------------------------------------------------------------


@dataclass
class _Copy:
    """A copy that is under way: what came of it stays for the next try."""

    part: Path
    etag: str = ""  # of what came
    name: str = ""


def fetched(uri: str, setting: str, most_bytes: int = MOST_BYTES, delays_s: Sequence[float] = _DELAYS_S) -> Path:
    """The copy of an address, as it is now."""
    folder = cache_folder("prompts") / digest("fetched", uri)
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / ".lock", _WAIT_S):
        known = _about(folder)
        copy = _Copy(folder / ".part")
        copy.part.unlink(missing_ok=True)
        for delay_s in (*delays_s, None):
            try:
                return _got(uri, setting, copy, known, most_bytes)
            except (OSError, http.client.HTTPException) as error:
                _check_passes(uri, setting, error, is_last=delay_s is None)
                time.sleep(delay_s or 0)
    raise AssertionError("the last try raises")


def _got(uri: str, setting: str, copy: _Copy, known: Mapping[str, str], most_bytes: int) -> Path:
    """One try."""
    have = copy.part.stat().st_size if copy.etag and copy.part.exists() else 0
    asked = {"Range": f"bytes={have}-", "If-Range": copy.etag} if have else {}
    asked |= {"If-None-Match": known["etag"]} if known.get("etag") and not have else {}
    request = urllib.request.Request(uri, headers={"User-Agent": "darkroom", **asked})
    try:
        reply = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
    except HTTPError as error:
        if error.code == http.HTTPStatus.NOT_MODIFIED:
            return copy.part.with_name(known["name"])
        if have and error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # it is shorter by now
            copy.etag = ""
            raise OSError("the file changed while it was copied") from error
        raise
    with reply:
        _check_is_file(uri, setting, reply.headers.get_content_type())
        have = have if reply.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length, etag = reply.headers.get("Content-Length"), reply.headers.get("ETag", "")
        if have and etag != copy.etag:  # a server that passes If-Range over
            copy.etag = ""
            raise OSError("the file changed while it was copied")
        copy.etag, copy.name = etag, _name(uri, reply.headers.get_content_type())
        _check_size(uri, setting, have + int(length or 0), most_bytes)
        with copy.part.open("ab" if have else "wb") as target:
            size = have
            while data := reply.read(_CHUNK_BYTES):
                size += len(data)
                _check_size(uri, setting, size, most_bytes)
                target.write(data)
    if length is not None and size != have + int(length):
        raise OSError(f"{size:,} of {have + int(length):,} bytes came")
    path = copy.part.replace(copy.part.with_name(copy.name))  # first: no ETag of others
    path.with_name(_ABOUT).write_text(json.dumps({"etag": copy.etag, "name": copy.name}))
    return path


def _check_is_file(uri: str, setting: str, content_type: str) -> None:
    """Pages to log in, and those that show a file, are replied with status 200 where a file is asked for."""
    if content_type in _PAGES:
        raise DarkroomError(
            f"{setting}={uri}: the server replied a page to look at ({content_type}), not a file; give the address of "
            "the file itself, as a link to download it has it"
        )


def _check_passes(uri: str, setting: str, error: Exception, is_last: bool) -> None:
    """Raises what is to be said where another try mends nothing, or was the last."""
    if isinstance(error, HTTPError) and error.code < 500 and error.code not in _LATER:
        raise DarkroomError(
            f"{setting}={uri}: the server replied {error.code} {' '.join(str(error.reason).split())}; check the "
            "address and access"
        ) from error
    if is_last:
        raise TryAgain(f"{setting}={uri}: cannot be fetched ({reason_of(error)}); give the command again") from error


def _about(folder: Path) -> dict[str, str]:
    """Of the copy that is there; empty where there is none."""
    try:
        about: dict[str, str] = json.loads((folder / _ABOUT).read_text())
        return about if (folder / about["name"]).is_file() else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _name(uri: str, content_type: str) -> str:
    """As the address says, with an ending by the type of its content where it has none."""
    name = PurePosixPath(unquote(urlsplit(uri).path)).name or "prompts"
    return name if PurePosixPath(name).suffix else f"{name}{_ENDINGS.get(content_type, '')}"


def _check_size(uri: str, setting: str, size_bytes: int, most_bytes: int) -> None:
    if size_bytes > most_bytes:
        raise DarkroomError(
            f"{setting}={uri}: more than {readable_bytes(most_bytes)}, which is the most that is fetched; copy it to a "
            "folder or to s3:// and name that"
        )


# The hub of Hugging Face ---------------------------------------------------------------------------------------------


def _from_hub(uri: str, setting: str, endings: Collection[str], most_bytes: int) -> Path:
    """Below the copy of a dataset at the commit that its revision is now."""
    owner, name, inside = (*uri.removeprefix(HUB).split("/", 2), "", "")[:3]
    name, _, revision = name.partition("@")
    if not uri.startswith(HUB) or not owner or not name:
        raise DarkroomError(f"{setting}={uri}: needed hf://datasets/<owner>/<name>, with @revision and a path after it")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    try:
        info = api.dataset_info(f"{owner}/{name}", revision=revision or None, files_metadata=True, timeout=_TIMEOUT_S)
        wanted = [each for each in info.siblings or () if _is_wanted(each.rfilename, inside.strip("/"), endings)]
        _check_size(uri, setting, sum(each.size or 0 for each in wanted), most_bytes)
        names = [each.rfilename for each in wanted]
        if not names:
            raise DarkroomError(f"{setting}={uri}: the dataset has no such file, or none to read there")
        folder = api.snapshot_download(info.id, repo_type="dataset", revision=info.sha, allow_patterns=names)
    except (OSError, ValueError, HfHubHTTPError) as error:
        if isinstance(error, DarkroomError):
            raise
        raise DarkroomError(
            f"{setting}={uri}: cannot be had from the hub ({reason_of(error)}); check its name, and HF_TOKEN where it "
            "is not public"
        ) from error
    return Path(folder) / inside.strip("/")


def _is_wanted(name: str, inside: str, endings: Collection[str]) -> bool:
    """Whether a file is the one that is asked for, or may be of the folder or the glob."""
    if name == inside:
        return True
    base = fixed_part(inside)
    suffixes = PurePosixPath(name.lower()).suffixes
    ending = suffixes[-2:-1] if suffixes[-1:] and suffixes[-1] in COMPRESSIONS else suffixes[-1:]
    return (not base or name.startswith(f"{base}/")) and bool(set(ending) & set(endings))
