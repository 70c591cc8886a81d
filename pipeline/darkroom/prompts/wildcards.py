"""A folder of wildcards: files of values by their names, as the web UI's extensions read them.

A .txt file has a value a line, without blank lines and comments (#), and is called by its path without its ending.
Lists in .yaml and .json files are called by their keys, joined by slashes.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import PurePosixPath

import yaml

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import digest
from darkroom.storage.input_files import InputFile
from darkroom.storage.scanning import Kinds, locate, scan

KEY = "prompts.wildcards"
_ENDINGS = frozenset((".txt", ".yaml", ".yml", ".json"))


@dataclass(frozen=True)
class Wildcards:
    """Those of a folder; each file is read when one of its names is first asked for. `uri` None: there are none."""

    uri: str | None
    endpoint_url: str | None = None

    def lines(self, name: str) -> Sequence[str]:
        """The values of a name, or of all that match a glob such as animals/*. Raises DarkroomError where none do."""
        if self.uri is None:
            raise DarkroomError(f"__{name}__ names a file of wildcards; set {KEY} to their folder")
        found = [each for each in sorted(self._values) if each == name or _matches(each, name)]
        lines = [line for each in found for line in self._values[each]]
        if not lines:
            close = get_close_matches(name, self._values, 1)
            hint = f"; did you mean __{close[0]}__?" if close else f"; there are {len(self._values)} others"
            what = "has no value; give its file some" if found else f"is not there{hint}"
            raise DarkroomError(f"{KEY}={self.uri}: __{name}__ {what}")
        return lines

    @cached_property
    def content_digest(self) -> str:
        """Equal for equal names and values; empty where there are none."""
        return digest("wildcards", {name: list(lines) for name, lines in self._values.items()}) if self.uri else ""

    @cached_property
    def _values(self) -> Mapping[str, Sequence[str]]:
        assert self.uri is not None
        place = locate(self.uri, self.endpoint_url, KEY, "prompts.endpoint_url")
        found = scan(place, Kinds(_ENDINGS, "files of wildcards"))
        if not found.files:
            raise DarkroomError(f"{KEY}={self.uri}: no such folder, or none of {' '.join(sorted(_ENDINGS))} in it")
        values: dict[str, list[str]] = {}
        for file in found.files:
            path = str(PurePosixPath(file.path[len(found.base) :].lstrip("/")).with_suffix(""))
            for name, lines in _values_of(file, path):
                values.setdefault(name, []).extend(lines)
        return values


def _matches(name: str, pattern: str) -> bool:
    """`*` is any part of a name, `**` any folders too."""
    if "*" not in pattern:
        return False
    return fnmatchcase(name, pattern) and ("**" in pattern or name.count("/") == pattern.count("/"))


def _values_of(file: InputFile, name: str) -> Iterator[tuple[str, list[str]]]:
    data = file.read()
    try:
        text = data.decode("utf-8-sig")
        if file.ending == ".txt":
            lines = (line.strip() for line in text.splitlines())
            yield name, [line for line in lines if line and not line.startswith("#")]
        else:
            yield from _lists(json.loads(text) if file.ending == ".json" else yaml.safe_load(text), "")
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise DarkroomError(
            f"{file.name}: no file of wildcards ({first_line(error)}); mend it, or move it out of the folder"
        ) from error


def _lists(value: object, name: str) -> Iterator[tuple[str, list[str]]]:
    """Lists of texts anywhere in a tree; other values name nothing."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lists(inner, f"{name}/{key}" if name else str(key))
    elif isinstance(value, list):
        yield name, [" ".join(str(each).split()) for each in value if isinstance(each, str | int | float)]


def lines_of_file(uri: str, endpoint_url: str | None, setting: str) -> list[str]:
    """The values of one file, or of several that a glob names. Raises DarkroomError where there are none."""
    place = locate(uri, endpoint_url, setting, f"{setting.rpartition('.')[0]}.endpoint_url")
    found = scan(place, Kinds(_ENDINGS, "files of values"))
    lines = [line for file in found.files for _, lines in _values_of(file, "values") for line in lines]
    if not lines:
        raise DarkroomError(
            f"{setting}={uri}: no such file, or no value in it; give one of {' '.join(sorted(_ENDINGS))}"
        )
    return lines
