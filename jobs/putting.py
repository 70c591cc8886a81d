"""Puts a value in its key's place, checked as far as the key alone says: one way for files and the command line."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from omegaconf import (
    MISSING,
    DictConfig,
    EnumNode,
    FloatNode,
    IntegerNode,
    ListConfig,
    OmegaConf,
    StringNode,
)
from omegaconf.errors import OmegaConfBaseException

from darkroom.conf.groups import PROMPT_TEXTS, SLOT_NUMBERS, TEXT_SETTINGS
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.jobs import refusals
from darkroom.jobs.arguments import NoValue, escaped, parsed, unquoted
from darkroom.jobs.nodes import Place, place_of, settled
from darkroom.jobs.sources import Scalar, dotted, leaves, with_scalars

_RANGES = re.compile(r"[-+]?\d[-+\d.,\s()\[\]]*")  # numbers and ranges of them, which are read where the grid is made


_ENDS = {"[": "]", "{": "}"}  # of several values


class Reader(Enum):
    """Who reads a value, which decides what a number is where a text is needed."""

    COMMAND = "command"  # no text: it goes in quotes
    CONFIG = "config"  # the text that is written
    HYDRA = "hydra"  # what YAML made of it


@dataclass(frozen=True)
class Origin:
    """Where a value is given."""

    reader: Reader
    file: Path | None = None
    word: str = ""  # of the command, as it is typed

    def said(self, key: str, value: object) -> str:
        """The value of a key, for an error that begins with it."""
        if self.word.startswith(f"{key}="):
            return self.word
        return f"{f'{self.file}: ' if self.file else ''}{key}={refusals.shown(value)}"


@dataclass(frozen=True)
class Target:
    """What values are put in."""

    config: DictConfig
    no_key: Callable[[str], DarkroomError]  # what is said of a key that there is not


def put_word(target: Target, key: str, text: str) -> None:
    """`key=text` of a command: a text is taken whole, and any other value read by Hydra's grammar."""
    origin = Origin(Reader.COMMAND, word=f"{key}={text}")
    place = _place(target, key)
    try:
        put(target, origin, key, _read(place, text))
    except NoValue as error:
        if error.twice is not None:
            raise DarkroomError(f"{refusals.shown(origin.word)}: {error.twice} is there twice; give it once") from error
        if error.is_several and isinstance(place.node, IntegerNode | FloatNode):
            raise DarkroomError(
                f"{origin.word}: one value is needed here; `darkroom sweep grid.axes...=[...]` takes several"
            ) from error
        raise refusals.refuse_value(origin.word, place.node) from error


def _read(place: Place, text: str) -> Any:
    if isinstance(place.node, StringNode) or (place.is_several and not _is_listed(text)):
        return None if text == "null" else unquoted(text)
    is_range = place.has_ranges and _RANGES.fullmatch(unquoted(text.strip()))
    return unquoted(text.strip()) if is_range or isinstance(place.node, EnumNode) else parsed(text)


def _is_listed(text: str) -> bool:
    """Several values, and no pattern of names that only begins so, such as `[0-9]*.jpg`."""
    start = text.lstrip()[:1]
    if start not in _ENDS:
        return False
    try:
        return isinstance(parsed(text), Mapping | list)
    except NoValue as error:
        return error.twice is not None or _ENDS[start] not in text


def put(target: Target, origin: Origin, key: str, value: object) -> None:
    """A value, or keys with values, each in its place. Raises DarkroomError for what the key does not take."""
    place = _place(target, key)
    if isinstance(value, Mapping) and place.is_section:
        for name, item in value.items():
            put(target, origin, f"{key}.{name}", item)
        return
    said = origin.said(key, value)
    if value is None and not place.takes_null:
        raise _null(place, origin, said)
    if place.has_ranges and isinstance(value, str) and _RANGES.fullmatch(value):
        value = [value]
    _check_scalars(place, origin, key, value)
    value = with_scalars(value, as_text=place.is_text, texts=TEXT_SETTINGS)
    if isinstance(value, str) and not _is_missing(origin, value):
        _check_text(place, origin, key, value, said)
        value = settled(place, value)
    if place.needed_value and not _is_filled_in(origin, value):
        _check_needed(place, value, said)
    _update(target.config, origin, key, place, value, said)


def _null(place: Place, origin: Origin, said: str) -> DarkroomError:
    if place.needed_value:
        return DarkroomError(f"{said}: null is no value of it; give {place.needed_value}")
    is_in_file = origin.file is not None
    return refusals.refuse_null(said, place.node, may_be_empty=not place.is_file, is_in_file=is_in_file)


def _check_scalars(place: Place, origin: Origin, key: str, value: object) -> None:
    """Numbers where a text is needed, and numbers that are not what they look like."""
    for names, leaf, is_text in _leaves(place, key, value):
        if origin.reader is Reader.COMMAND:
            if is_text and isinstance(leaf, bool | int | float):
                raise refusals.refuse_unquoted(origin.word, _without_items(names), leaf)
        elif isinstance(leaf, Scalar) and not (is_text and origin.reader is Reader.CONFIG):
            where = f"{origin.file}: {dotted(names)}"
            if is_text and str(leaf.value) != leaf.text:
                said = f"{leaf.text} is {leaf.value} to YAML, and the key is a text"
                raise DarkroomError(f"{where}: {said}; write '{leaf.text}' with its quotes")
            if not is_text and not leaf.is_as_it_looks:
                raise refusals.refuse_number(where, leaf.text, leaf.value)


def _leaves(place: Place, key: str, value: object) -> Iterator[tuple[tuple[str, ...], object, bool]]:
    """(keys, value, whether a text is needed) of each single value."""
    for names, leaf in leaves(value):
        is_text = (place.is_text and not SLOT_NUMBERS & set(names)) or (
            isinstance(place.node, ListConfig) and bool(TEXT_SETTINGS & set(names))
        )
        yield (key, *names), leaf, is_text


def _without_items(names: tuple[str, ...]) -> str:
    return ".".join(name for name in names if not name.startswith("["))


def _check_text(place: Place, origin: Origin, key: str, value: str, said: str) -> None:
    if key.rpartition(".")[2] not in PROMPT_TEXTS and has_credentials(value):
        raise credentials_in(key)
    if not value and place.is_never_empty:
        raise refusals.refuse_empty(said, is_optional=place.takes_null)
    node = place.node
    if isinstance(node, EnumNode) and value not in node.enum_type.__members__ and not _is_filled_in(origin, value):
        raise refusals.refuse_enum(said, value, list(node.enum_type.__members__))
    is_other = isinstance(node, ListConfig | DictConfig) and not place.is_free
    if is_other and not _is_filled_in(origin, value):
        raise refusals.refuse_value(said, node)


def _is_missing(origin: Origin, value: object) -> bool:
    """Yet to be given, as `--cfg job` prints it."""
    return origin.file is not None and value == MISSING


def _is_filled_in(origin: Origin, value: object) -> bool:
    """Later, or by what a file names."""
    return _is_missing(origin, value) or (origin.file is not None and isinstance(value, str) and "${" in value)


def _check_needed(place: Place, value: object, said: str) -> None:
    kind = int if "low" in place.about else bool
    if value not in place.about["words"] and type(value) is not kind:
        raise DarkroomError(f"{said}: give {place.needed_value}")


def _update(config: DictConfig, origin: Origin, key: str, place: Place, value: object, said: str) -> None:
    try:
        held = value if origin.file else escaped(value)
        OmegaConf.update(config, key, held, merge=True, force_add=place.is_free)
        if not origin.file:  # what looks filled in is a text that the key may not take
            found = OmegaConf.select(config, key)
            OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else None
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        raise refusals.refuse_value(said, place.node, error) from error


def _place(target: Target, key: str) -> Place:
    place = place_of(target.config, key)
    if place is None:
        raise target.no_key(key)
    return place
