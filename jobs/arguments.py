"""A job's command line apart: where its configuration comes from, its words `key=value`, and what is asked about it.

Values are written by Hydra's grammar: https://hydra.cc/docs/advanced/override_grammar/basic/
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from enum import Enum
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import CommonTokenStream, InputStream, OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

from darkroom.conf.schema import JOBS, WORDS_OF_ANOTHER
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.sources import Sources, groups

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_INTERPOLATION = re.compile(r"(\\*)\$\{")
HELP = ("-h", "--help")
_VALUES = {"--config": "FILE.yaml", "--config-dir": "FOLDER", "--cfg": "job"}  # of flags that take one
_FLAGS = {  # flag -> what it is for
    "--config": "a YAML file of keys, as `--cfg job` prints them; words of the command win over it, and a choice of a "
    "group over all keys that the file has of another choice",
    "--config-dir": "a folder of groups of your own, such as experiment/mine.yaml for +experiment=mine",
    "--cfg": "`--cfg job` prints the configuration as it is chosen so far, and does nothing",
    "--help": "prints the keys of what is chosen so far, with their defaults",
}


class NoValue(Exception):
    """A text that the grammar does not take; several values, where `is_several`; with a key that is there `twice`."""

    def __init__(self, *, is_several: bool = False, twice: str | None = None) -> None:
        super().__init__()
        self.is_several = is_several
        self.twice = twice


def parsed(text: str) -> Any:
    """The value: its texts are texts, and nothing is filled in. Raises NoValue."""
    try:
        override = _override(text)
    except HydraException as error:
        raise NoValue from error
    if override.is_sweep_override():
        raise NoValue(is_several=True)
    return override.value()


def unquoted(text: str) -> str:
    """Without one pair of Hydra's quotes around all of it, and the backslashes that they need inside."""
    return str(_override(text).value()) if _QUOTED.fullmatch(text) else text


def escaped(value: Any) -> Any:
    """A value as a configuration holds it, where `${...}` in its texts would else be filled in."""
    if isinstance(value, str):
        return _INTERPOLATION.sub(lambda found: found[1] * 2 + "\\${", value)
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {name: escaped(item) for name, item in value.items()}
    return value


def _override(text: str) -> Override:
    """As `OverridesParser.parse_override` of Hydra does, but that a key may not be there twice."""
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(f"value={text}"))
    parser = OverrideParser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(listener)
    found: Override = _Visitor(create_functions()).visit(parser.override())
    found.validate()
    return found


class _Visitor(HydraOverrideVisitor):  # type: ignore[misc]
    """Which would else keep the last of two values of one key."""

    def visitDictContainer(self, ctx: OverrideParser.DictContainerContext) -> dict[str, Any]:
        pairs = [self.visitDictKeyValuePair(ctx.getChild(place)) for place in range(1, ctx.getChildCount() - 1, 2)]
        [(key, count)] = Counter(str(name) for name, _ in pairs).most_common(1) or [("", 0)]
        if count > 1:
            raise NoValue(twice=key)
        return dict(pairs)


class Show(Enum):
    """What is printed in place of doing the job."""

    help = "help"
    config = "config"


@dataclass(frozen=True)
class Arguments:
    sources: Sources
    words: tuple[str, ...]
    show: Show | None = None
    of_another: tuple[str, ...] = ()  # words of the job that this one does


def flags() -> dict[str, str]:
    """Each with a sentence."""
    return dict(_FLAGS)


def arguments(job: str, words: Sequence[str]) -> Arguments:
    """Raises DarkroomError for an unknown flag, or one without its value."""
    values: dict[str, str] = {}
    rest: list[str] = []
    left, of_another = _split(job, words)
    while left:
        word = left.pop(0)
        flag, sign, value = word.partition("=")
        if flag in HELP:
            values["--help"] = "job"
        elif not flag.startswith("-"):
            rest.append(word)
        elif flag not in _FLAGS:
            raise DarkroomError(f"{flag}: no such flag of `darkroom {job}`; flags are {', '.join(_FLAGS)}")
        elif flag in values:
            raise DarkroomError(f"{flag} is given twice; give it once")
        else:
            values[flag] = value if sign or not left else left.pop(0)
            if not values[flag].strip():
                raise DarkroomError(f"{flag}: its value is missing; write {flag} {_VALUES[flag]}")
    return Arguments(_sources(job, values), tuple(rest), _show(values), of_another)


def _split(job: str, words: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """(the job's own words, those of the job that it does): also files of configuration are the latter's."""
    if job not in WORDS_OF_ANOTHER:
        return list(words), ()
    keys = {each.name for each in fields(JOBS[job])} - {WORDS_OF_ANOTHER[job]}
    parts: tuple[list[str], list[str]] = ([], [])
    left = list(words)
    while left:
        word = left.pop(0)
        name, sign, value = word.partition("=")
        is_own = name in (*HELP, "--cfg") or name.partition(".")[0] in keys
        is_own = is_own and not (name == "to" and "/" in value)  # a place, of a job that has one, and no cluster
        takes_next = name in _VALUES and not sign and left
        parts[not is_own].extend([word, left.pop(0)] if takes_next else [word])
    return parts[0], tuple(parts[1])


def _sources(job: str, values: dict[str, str]) -> Sources:
    config, folder = values.get("--config"), values.get("--config-dir")
    if folder and not Path(folder).expanduser().is_dir():
        raise DarkroomError(f"--config-dir {folder}: no such folder")
    for unseen in sorted(Path(folder).expanduser().glob("*/**/*.yml")) if folder else ():
        raise DarkroomError(f"{unseen}: choices are files that end in .yaml; rename it to {unseen.stem}.yaml")
    path = Path(config or "").expanduser()
    if folder:
        _check_read(job, Path(folder).expanduser(), path)
    if config and not path.is_file():
        raise DarkroomError(f"--config {config}: {_no_file(path)}")
    return Sources(job, *(Path(path).expanduser() if path else None for path in (config, folder)))


def _check_read(job: str, folder: Path, config: Path) -> None:
    """Refuse files of the folder itself that look as if they were read: only its folders' are."""
    job_file = folder / f"{job}.yaml"
    if job_file.is_file() and not (config.is_file() and config.samefile(job_file)):
        raise DarkroomError(f"{job_file}: it is not read; give it as --config {job_file}, or move it elsewhere")
    for group in groups(Sources(job)):
        if (folder / f"{group}.yaml").is_file():
            raise DarkroomError(
                f"{folder / group}.yaml: it is not read; a choice of the group {group} is a file such as "
                f"{folder / group}/mine.yaml"
            )


def _no_file(path: Path) -> str:
    if path.is_dir():
        return "it is a folder; give a YAML file, or a folder of groups as --config-dir"
    return "it is no file that can be read twice; write it to one" if path.exists() else "no such file"


def _show(values: dict[str, str]) -> Show | None:
    if values.get("--cfg", "job") != "job":
        raise DarkroomError(f"--cfg {values['--cfg']}: no such choice; give --cfg job")
    if "--help" in values:
        return Show.help
    return Show.config if "--cfg" in values else None
