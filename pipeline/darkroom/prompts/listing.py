"""Which files a path, folder, glob or s3:// address means as prompts, and which it leaves out, by name.

Knows file systems and names; opens no file.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pyarrow import fs

from darkroom.domain.files import walk
from darkroom.prompts.files import ending_of

_MAGIC = re.compile(r"[*?\[]")
_HIDDEN = "._"  # first characters of files that are markers and notes of programs
_LINES = ".txt"
_NOTES = re.compile(
    r"(read[-_ ]?me|licen[cs]e|copying|requirements)([-_. ].*)?|notice|authors|contributors|citation|change[-_ ]?log|"
    r"notes?|todo",
    re.IGNORECASE,
)
_MOST_NAMED = 5


@dataclass(frozen=True)
class Listing:
    """What an address names, in order of path."""

    paths: tuple[str, ...]
    base: str  # the folder that they lie in, all of them
    warnings: tuple[str, ...]  # what is left out, and why


def listed(filesystem: fs.FileSystem, path: str, endings: frozenset[str]) -> Listing:
    """The file at a path; or of all in a folder, or all that match a glob, those that are meant as prompts."""
    kind = filesystem.get_file_info(path).type
    if kind == fs.FileType.File:  # a name with brackets is itself before it is a pattern
        return Listing((path,), str(Path(path).parent), ())
    if kind == fs.FileType.Directory:
        return _chosen(_below(filesystem, path, recursive=True), path, endings)
    if not _MAGIC.search(path):
        return Listing((), path, ())
    base = base_of(path)
    rest = path[len(base) + 1 :]
    pattern = re.compile(_glob_regex(rest))
    found = _below(filesystem, base or "/", recursive="/" in rest or "**" in rest, hidden=_unnamed(rest))
    return _chosen([each for each in found if pattern.fullmatch(_inside(each, base))], base, endings)


def base_of(path: str) -> str:
    """The folder above the first part with a wildcard."""
    fixed = []
    for part in path.split("/"):
        if _MAGIC.search(part):
            break
        fixed.append(part)
    return "/".join(fixed)


def _chosen(paths: Sequence[str], base: str, endings: frozenset[str]) -> Listing:
    known = [path for path in paths if ending_of(path) in endings]
    unknown = [path for path in paths if ending_of(path) not in endings]
    texts = [path for path in known if ending_of(path) == _LINES]
    tables = [path for path in known if ending_of(path) != _LINES]
    notes = texts if tables else [path for path in texts if _NOTES.fullmatch(Path(path).stem)]
    taken = [path for path in known if path not in set(notes)]
    warnings = [
        *_left_out(notes, base, "text beside tables, or notes by their names; name a file itself to have it read"),
        *_left_out(unknown, base, "not prompt files by their endings"),
    ]
    return Listing(tuple(sorted(taken)), base, tuple(warnings))


def _left_out(paths: Sequence[str], base: str, why: str) -> Iterator[str]:
    if paths:
        names = ", ".join(_inside(path, base) for path in sorted(paths)[:_MOST_NAMED])
        more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
        yield f"left out {names}{more} ({why})"


def _below(filesystem: fs.FileSystem, folder: str, recursive: bool, hidden: str = _HIDDEN) -> list[str]:
    if isinstance(filesystem, fs.LocalFileSystem):
        infos = filesystem.get_file_info(list(walk(folder, recursive, hidden)))
    else:
        found = filesystem.get_file_info(fs.FileSelector(folder, allow_not_found=True, recursive=recursive))
        infos = [each for each in found if not _is_hidden(_inside(each.path, folder).split("/"), hidden)]
    return [info.path for info in infos if info.type in (fs.FileType.File, fs.FileType.NotFound)]


def _is_hidden(parts: Sequence[str], hidden: str) -> bool:
    return any(part.startswith(tuple(hidden)) for part in parts)


def _unnamed(pattern: str) -> str:
    """First characters of hidden files that no part of a glob begins with."""
    return "".join(first for first in _HIDDEN if not any(part.startswith(first) for part in pattern.split("/")))


def _inside(path: str, base: str) -> str:
    return path[len(base) :].strip("/")


def _glob_regex(pattern: str) -> str:
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[^*?\[]+|\[", pattern)
    known = {"**/": r"(?:[^/]+/)*", "**": r".*", "*": r"[^/]*", "?": r"[^/]"}
    return "".join(
        known.get(token) or (_char_class(token) if _is_class(token) else re.escape(token)) for token in tokens
    )


def _is_class(token: str) -> bool:
    return token.startswith("[") and token.endswith("]") and len(token) > 2


def _char_class(token: str) -> str:
    inside = token[1:-1].replace("\\", r"\\")
    return f"[^{inside[1:]}]" if inside.startswith("!") else f"[{inside}]"
