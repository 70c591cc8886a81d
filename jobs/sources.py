"""Where a job's configuration comes from: Darkroom's own files, the user's file and folder, and what these say."""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import yaml
from omegaconf._utils import get_yaml_loader
from omegaconf.errors import OmegaConfBaseException
from yaml import ScalarNode, YAMLError

from darkroom.conf import schema
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.refusals import in_one_line

CONF = Path(schema.__file__).parent  # the YAML files
NULL = "null"  # the choice of a group that chooses none of its files


@dataclass(frozen=True)
class Scalar:
    """A number or a truth value, and the text that it is written as."""

    value: bool | float
    text: str

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        return self.text

    @property
    def is_as_it_looks(self) -> bool:
        """Not so: 010, which is 8 to YAML 1.1, 1:30, which is 90, and 0x10."""
        if isinstance(self.value, bool) or self.text.lstrip("+-").lower() in (".inf", ".nan"):
            return True
        try:
            return (int if isinstance(self.value, int) else float)(self.text) == self.value
        except ValueError:
            return False


def with_scalars(value: Any, *, as_text: bool, texts: Collection[str] = ()) -> Any:
    """The value with each scalar in it, at any depth, as its text or as its value.

    `texts`: keys in it whose values are texts.
    """
    if isinstance(value, Scalar):
        return value.text if as_text else value.value
    if isinstance(value, list):
        return [with_scalars(item, as_text=as_text, texts=texts) for item in value]
    if isinstance(value, dict):
        return {
            with_scalars(key, as_text=False): with_scalars(item, as_text=as_text or key in texts, texts=texts)
            for key, item in value.items()
        }
    return value


def leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(keys on the way, value) of all that is neither keys with values nor a list; an item's key is such as `[0]`."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (*keys, str(key)))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from leaves(item, (*keys, f"[{number}]"))
    else:
        yield keys, value


def dotted(keys: tuple[str, ...]) -> str:
    """Such as `evaluation.metrics[0]`."""
    return ".".join(keys).replace(".[", "[")


def scalars(path: Path) -> Any:
    """The file as OmegaConf reads it, but for its scalars."""
    loader = get_yaml_loader()
    for kind in ("bool", "int", "float"):
        tag = f"tag:yaml.org,2002:{kind}"
        loader.add_constructor(tag, partial(_scalar, loader.yaml_constructors[tag]))
    return yaml.load(path.read_text("utf-8"), loader)


def _scalar(construct: Callable[[Any, ScalarNode], bool | float], loader: Any, node: ScalarNode) -> Scalar:
    return Scalar(construct(loader, node), node.value)


@dataclass(frozen=True)
class Sources:
    """What a job's configuration is composed from, beside the words `key=value` of its command."""

    job: str
    config: Path | None = None  # a file of the user's: keys, or keys with a defaults list
    config_dir: Path | None = None  # a folder of the user's whose folders are groups, such as experiment/ or model/

    @cached_property
    def primary(self) -> Path | None:
        """The user's file where it has a defaults list, and so stands in the place of the job's."""
        return self.config if self.config and "defaults" in read_yaml(self.config) else None

    @property
    def folders(self) -> list[Path]:
        """Where groups are found, the first one first."""
        primary = self.primary
        return [*([primary.parent] if primary else []), *([self.config_dir] if self.config_dir else []), CONF]

    def file(self, name: str) -> Path | None:
        """The one that is found by this name, such as `model/mine`."""
        paths = (folder / f"{name}.yaml" for folder in self.folders)
        return next((path for path in paths if path.is_file()), None)


def usual_choices(sources: Sources) -> dict[str, str]:
    """The groups of the defaults list, each with the choice that is made for want of another."""
    listed = dict(_choices_in(CONF / f"{sources.job}.yaml"))
    for name, choice in _choices_in(sources.primary) if sources.primary else ():
        group = name.removeprefix("override ").lstrip("/")
        if isinstance(choice, str | None) and (group in listed or group == name):
            listed[group] = choice  # what cannot be overridden is refused where defaults lists are checked
    return {name: choice or NULL for name, choice in listed.items()}


def groups(sources: Sources) -> dict[str, list[str]]:
    """The groups of the defaults list, each with its choices: files of its folders; none where none is the default."""
    own = usual_choices(Sources(sources.job))
    return {
        group: [*_files(sources, group), *([NULL] if own.get(group, choice) == NULL else [])]
        for group, choice in usual_choices(sources).items()
    }


def added_groups(sources: Sources) -> dict[str, list[str]]:
    """Groups of the user's folder that no defaults list has, such as `experiment`, each with its choices."""
    if sources.config_dir is None:
        return {}
    names = sorted(path.name for path in sources.config_dir.iterdir() if path.is_dir() and any(path.rglob("*.yaml")))
    return {name: _files(sources, name) for name in names if name not in groups(sources)}


def _files(sources: Sources, group: str) -> list[str]:
    """Of all folders; one of a folder below the group's is called `deep/mine`."""
    bases = [folder / group for folder in sources.folders]
    return sorted(
        {path.relative_to(base).with_suffix("").as_posix() for base in bases for path in base.rglob("*.yaml")}
    )


# Files ---------------------------------------------------------------------------------------------------------------


def read_yaml(path: Path) -> dict[Any, Any]:
    """A user's file of keys, with its numbers as they are written. Raises DarkroomError where it is none."""
    try:
        found = scalars(path)
    except FileNotFoundError as error:
        raise DarkroomError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DarkroomError(f"{path}: it cannot be read ({in_one_line(error)})") from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise DarkroomError(f"{path}: it is no YAML ({in_one_line(error)})") from error
    if found is not None and not isinstance(found, dict):
        held = "a list" if isinstance(found, list) else f"only {str(found)!r}"
        raise DarkroomError(f"{path}: it holds {held}; give keys with values, as `--cfg job` prints them")
    _check_values(path, found)
    _check_once(path, found)
    return found or {}


def _check_values(path: Path, value: Any, keys: tuple[str, ...] = (), above: tuple[int, ...] = ()) -> None:
    """Refuse what has no end, and what has no order."""
    if id(value) in above:
        raise DarkroomError(f"{path}: {dotted(keys)} holds itself; write out what it is to be")
    if isinstance(value, set | frozenset):
        raise DarkroomError(f"{path}: {dotted(keys)} is a set, which has no order; give a list, or a text")
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        name = str(key) if isinstance(value, dict) else f"[{key}]"
        _check_values(path, item, (*keys, name), (*above, id(value)))


def _check_once(path: Path, found: Any) -> None:
    """`a.b: 1` and `a: {b: 2}` are one key."""
    counts = Counter(dotted(keys) for keys, _ in leaves(found))
    for name in (name for name, count in counts.items() if count > 1):
        raise DarkroomError(f"{path}: {name} is there twice, as one word and below its section; give it once")


def defaults_of(path: Path) -> list[Any]:
    """A file's defaults list; empty where there is none. Raises DarkroomError where it is no list."""
    items = with_scalars(read_yaml(path).get("defaults", []), as_text=True)
    if not isinstance(items, list):
        such = "[generate, {override model: sdxl}, _self_]"
        raise DarkroomError(f"{path}: defaults={NULL if items is None else items}: give a list, such as {such}")
    return items


def _choices_in(path: Path) -> Iterator[tuple[str, Any]]:
    """(group, choice) of each such entry of a file's defaults list."""
    for item in defaults_of(path):
        if isinstance(item, dict):
            yield from ((str(name), choice) for name, choice in item.items())
