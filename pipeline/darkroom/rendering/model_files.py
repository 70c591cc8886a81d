"""Which files of a model's folder shape its pixels, and what they must be. Knows no torch."""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.models.digests import GIT_SHA1, SHA256, file_digests
from darkroom.models.folders import NEVER_READ, files_in
from darkroom.models.proof import Digests

INDEX = "model_index.json"
_WORDS = frozenset({".md", ".pyc"})
_BLOB = re.compile(r"[0-9a-f]{64}|[0-9a-f]{40}")


def components_of(index: Mapping[str, Any]) -> dict[str, str]:
    """Component -> library that its class comes from, as model_index.json says."""
    pairs = {name: value for name, value in index.items() if isinstance(value, list) and not name.startswith("_")}
    return {name: value[0] for name, value in pairs.items() if len(value) == 2 and value[0] is not None}


def shaping_files(folder: Path, trusts_code: bool) -> list[str]:
    """Names of the files that pixels depend on, sorted; where the model's own code may run, of all that it can read."""
    found = {folder / INDEX, *(files_in(folder, _WORDS) if trusts_code else _of_components(folder))}
    return [path.relative_to(folder).as_posix() for path in sorted(found)]


def folder_digests(folder: Path, trusts_code: bool, but_blobs: bool = False) -> dict[str, str]:
    """Name -> "sha256:..." of each of them; a hub's blobs, that are called by theirs, need not be read for it."""
    names = [name for name in shaping_files(folder, trusts_code) if not (but_blobs and _of_blob(folder / name))]
    return dict(zip(names, file_digests(folder / name for name in names), strict=True))


def folder_revision(digests: Mapping[str, str]) -> str:
    """ "sha256:..." over the names and bytes of all that shapes pixels; where the folder lies does not matter."""
    lines = "".join(f"{name}\0{digest.removeprefix(f'{SHA256}:')}\n" for name, digest in digests.items())
    return f"{SHA256}:{hashlib.sha256(lines.encode()).hexdigest()}"


def snapshot_digests(folder: Path, trusts_code: bool, known: Digests) -> dict[str, str]:
    """What the files of a hub snapshot must be: blobs are called by their digests, and of others some are known."""
    wanted = {name: _of_blob(folder / name) or known.get(name) for name in shaping_files(folder, trusts_code)}
    return {name: digest for name, digest in wanted.items() if digest}


def _of_blob(path: Path) -> str | None:
    blob = path.resolve()
    if not path.is_symlink() or blob.parent.name != "blobs" or not _BLOB.fullmatch(blob.name):
        return None
    return f"{SHA256 if len(blob.name) == 64 else GIT_SHA1}:{blob.name}"


def _of_components(folder: Path) -> Iterator[Path]:
    for name in components_of(json.loads((folder / INDEX).read_text())):
        if (folder / name).is_dir():
            yield from files_in(folder / name)
        else:  # diffusers looks for it in the model's own folder
            yield from (path for path in folder.glob("*") if path.suffix not in NEVER_READ and path.name[0] != ".")
