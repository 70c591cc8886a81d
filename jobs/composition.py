"""From a job, the folders and files of a user's configuration, and choices of groups to what Hydra composes.

https://hydra.cc/docs/advanced/compose_api/ and https://hydra.cc/docs/advanced/search_path/
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from darkroom.conf import schema
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.refusals import refuse_choice, refuse_key, refuse_override
from darkroom.jobs.scalars import Scalar, scalars

CONF = Path(schema.__file__).parent  # the YAML files
NULL = "null"  # the choice of a group that chooses none of its files
_COMPOSING = threading.Lock()  # Hydra keeps what it composes in one place of the process


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


def composition(sources: Sources, choices: Mapping[str, str], added: Mapping[str, str] | None = None) -> DictConfig:
    """The configuration with these choices of groups; `added`: choices of groups that no defaults list has.

    Raises DarkroomError for a file that cannot be composed.
    """
    config = _composed(sources, choices, added or {})
    with open_dict(config):
        del config["hydra"]
    return config


def _composed(sources: Sources, choices: Mapping[str, str], added: Mapping[str, str]) -> DictConfig:
    """With what Hydra says of itself, below `hydra`."""
    schema.register()
    primary = sources.primary
    if primary and primary.suffix != ".yaml":
        raise DarkroomError(f"{primary}: Hydra reads a file with a defaults list where it ends in .yaml; rename it")
    if primary and "_self_" not in _items(primary):
        raise DarkroomError(
            f"{primary}: its defaults list lacks `_self_`; add `- _self_` at the end for its keys to win"
        )
    if primary and primary.stem == sources.job:
        raise DarkroomError(f"{primary}: a file with a defaults list cannot be called {primary.name}; rename it")
    _check_names(sources)
    first, *others = sources.folders
    words = [f"hydra.searchpath=[{','.join(_quoted(f'file://{path.absolute()}') for path in others)}]"]
    words += [f"{group}={_quoted(choice)}" for group, choice in choices.items() if choice != NULL]
    words += [f"+{group}={_quoted(choice)}" for group, choice in added.items()]
    if primary is None and first != CONF:  # Hydra wants the job's file in the first folder
        first, words[0] = CONF, f"hydra.searchpath=[{_quoted(f'file://{first.absolute()}')}]"
    try:
        with _COMPOSING, initialize_config_dir(str(first.absolute()), version_base="1.3"):
            config: DictConfig = compose(primary.stem if primary else sources.job, words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, TypeError) as error:
        raise _refused(sources, added, error) from error
    _check_texts(sources, added, config)
    if primary and OmegaConf.get_type(config) is not OmegaConf.get_type(composition(Sources(sources.job), {})):
        raise DarkroomError(f"{primary}: begin its defaults list with `- {sources.job}`, whose keys it then has")
    return config


def _check_names(sources: Sources) -> None:
    """Raises DarkroomError for a file of the user's that would stand, unseen, in the place of one of Darkroom's."""
    folders = [folder for folder in sources.folders if folder.absolute() != CONF.absolute()]
    for group in usual_choices(sources):
        for folder in folders:
            for path in sorted((folder / group).glob("*.yaml")):
                if (CONF / group / path.name).exists() or path.stem == "schema":
                    raise DarkroomError(f"{path}: {group}={path.stem} is a choice of Darkroom's own; rename the file")


def _check_texts(sources: Sources, added: Mapping[str, str], config: DictConfig) -> None:
    """Raises DarkroomError where YAML read a number or a truth value for a key of text, and wrote another text of it:
    the revision 0123 is 83 there."""
    chosen = {str(group): str(choice) for group, choice in config.hydra.runtime.choices.items()}
    loaded = [folder / group / f"{choice}.yaml" for folder in sources.folders for group, choice in chosen.items()]
    for path in filter(None, [sources.primary, *loaded]):
        if CONF in path.parents or not path.is_file():
            continue
        for keys, scalar in _leaves(scalars(path)):
            for names in (keys, (path.parent.name, *keys)):
                found = OmegaConf.select(config, ".".join(names))
                if isinstance(found, str) and found == str(scalar.value) != scalar.text:
                    said = f"{'.'.join(keys)}: {scalar.text} is {found} to YAML, and the key is a text"
                    raise DarkroomError(f"{path}: {said}; write '{scalar.text}' with its quotes")


def _leaves(value: Any, keys: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Scalar]]:
    if isinstance(value, Scalar):
        yield keys, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, (*keys, str(key)))


@dataclass(frozen=True)
class Choices:
    """What of the groups is chosen."""

    sources: Sources
    usual: Mapping[str, str]  # of groups in the defaults list
    added: Mapping[str, str]  # of the user's groups, as in +experiment=mine

    def config(self) -> DictConfig:
        return composition(self.sources, self.usual, self.added)

    def but(self, group: str, choice: str) -> "Choices":
        return replace(self, usual={**self.usual, group: choice})


def made_choices(choices: Choices) -> dict[str, str]:
    """Group to choice, as they are in the end: also those that a preset or an experiment makes."""
    made = _composed(choices.sources, choices.usual, choices.added).hydra.runtime.choices
    return {str(group): str(choice) for group, choice in made.items() if choice not in (None, NULL)}


def usual_choices(sources: Sources) -> dict[str, str]:
    """The groups of the defaults list, each with the choice that is made for want of another."""
    listed = _defaults(CONF / f"{sources.job}.yaml")
    if sources.primary:
        overriding = _defaults(sources.primary).items()
        listed |= {name.removeprefix("override ").lstrip("/"): choice for name, choice in overriding}
    return {name: choice or NULL for name, choice in listed.items()}


def groups(sources: Sources) -> dict[str, list[str]]:
    """The groups of the defaults list, each with its choices: files of its folders; none where none is the default."""
    return {
        group: [*_choices(sources, group), *([NULL] if choice == NULL else [])]
        for group, choice in usual_choices(sources).items()
    }


def added_groups(sources: Sources) -> dict[str, list[str]]:
    """Groups of the user's folder that no defaults list has, such as `experiment`, each with its choices."""
    if sources.config_dir is None:
        return {}
    names = sorted(path.name for path in sources.config_dir.iterdir() if path.is_dir() and any(path.rglob("*.yaml")))
    return {name: _choices(sources, name) for name in names if name not in groups(sources)}


def read_yaml(path: Path) -> DictConfig:
    """A file of keys. Raises DarkroomError where it is none."""
    try:
        found = OmegaConf.load(path)
    except FileNotFoundError as error:
        raise DarkroomError(f"--config {path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DarkroomError(f"--config {path}: it cannot be read ({error})") from error
    except (YAMLError, OmegaConfBaseException) as error:
        raise DarkroomError(f"--config {path}: it is no YAML ({_cause(error)})") from error
    if not isinstance(found, DictConfig):
        raise DarkroomError(f"--config {path}: it holds a list; give keys with values, as `--cfg job` prints them")
    return found


def _defaults(path: Path) -> dict[str, str | None]:
    """Group to usual choice, of a file's defaults list."""
    return {str(name): usual for item in _items(path) if isinstance(item, dict) for name, usual in item.items()}


def _items(path: Path) -> list[Any]:
    """A file's defaults list; empty where there is none."""
    listed: Any = OmegaConf.to_container(OmegaConf.load(path))
    items = listed.get("defaults", [])
    if not isinstance(items, list):
        such = "[generate, {override model: sdxl}, _self_]"
        raise DarkroomError(f"{path}: defaults={items}: give a list, such as {such}")
    return items


def _choices(sources: Sources, group: str) -> list[str]:
    """Of all folders; one of a folder below the group's is called `deep/mine`."""
    bases = [folder / group for folder in sources.folders]
    return sorted(
        {path.relative_to(base).with_suffix("").as_posix() for base in bases for path in base.rglob("*.yaml")}
    )


def _quoted(text: str) -> str:
    """For Hydra's grammar."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


# What is said of files that cannot be composed ------------------------------------------------------------------------

_FILE = re.compile(r"In '([^']+)': ")
_KEY = re.compile(r"Key '[^']+' not in .* full_key: (\S+)")
_VALUE = re.compile(r"raised while composing config: (.+) full_key: (\S+)")
_CHOICE = re.compile(r"Could not find '(.+)/([^/']+)'")
_GROUP = re.compile(r"Could not override '([^'@]+)")


def _refused(sources: Sources, added: Mapping[str, str], error: Exception) -> DarkroomError:
    """What Hydra says, with the file that it speaks of, and the key or choice that may be meant."""
    cause = _cause(error)
    named = _FILE.search(cause)
    file = _file(sources, added, named[1] if named else "")
    said = _FILE.sub("", cause)
    if key := _KEY.search(cause):
        if key[1] in added:
            return DarkroomError(f"{file}: its keys lie below {key[1]}; begin the file with `# @package _global_`")
        job = Sources(sources.job)
        return DarkroomError(f"{file}: {refuse_key(sources.job, key[1], composition(job, {}), list(groups(job)), ())}")
    if value := _VALUE.search(cause):
        return DarkroomError(f"{file}: {value[2]}: {value[1]}")
    if (choice := _CHOICE.search(cause)) and choice[1] in groups(sources):
        return DarkroomError(
            f"{file}: {refuse_choice(f'{choice[1]}={choice[2]}', choice[2], groups(sources)[choice[1]])}"
        )
    if group := _GROUP.search(cause):
        name = group[1].rpartition("/")[2]
        return DarkroomError(f"{file}: {refuse_override(sources.job, name, list(groups(sources)))}")
    return DarkroomError(f"{file}: {said}")


def _file(sources: Sources, added: Mapping[str, str], name: str) -> str:
    """The user's file of this name among groups; else the one that a group of the user's is chosen by."""
    names = [name, *(f"{group}/{choice}" for group, choice in added.items())]
    paths = [folder / f"{each}.yaml" for each in names if each for folder in sources.folders if folder != CONF]
    found = next((path for path in paths if path.is_file()), None)
    return str(found or sources.primary or sources.config_dir or sources.job)


def _cause(error: BaseException) -> str:
    """What Hydra says of it, in one line, and what it was made from."""
    lines: Sequence[str] = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [re.sub(r"^(reference|object)_type=.*", "", line) for line in lines]
    lines = lines[: next((at for at, line in enumerate(lines) if line.startswith("Config search path")), len(lines))]
    cause = f": {_cause(error.__cause__)}" if error.__cause__ and str(error.__cause__) not in str(error) else ""
    return " ".join(filter(None, lines)) + cause
