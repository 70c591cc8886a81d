"""From the words of a command line to a checked configuration.

What a shell passes whole is taken whole: the value of a key that the schema calls text is that text, whatever is in it.
Lists, dicts and numbers are read by Hydra's grammar. https://hydra.cc/docs/advanced/override_grammar/basic/
"""

import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from darkroom.conf.groups import PROMPT_TEXTS
from darkroom.conf.keys import check_ranges
from darkroom.conf.schema import WORDS_OF_ANOTHER
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.jobs.arguments import Arguments, arguments, unquoted
from darkroom.jobs.composition import Choices
from darkroom.jobs.config_file import ConfigFile
from darkroom.jobs.nodes import place_of
from darkroom.jobs.putting import Origin, Reader, Target, put, put_word
from darkroom.jobs.refusals import in_one_line, refuse_added, refuse_choice, refuse_key, refuse_word
from darkroom.jobs.sources import added_groups, groups
from darkroom.jobs.unused import check_used

_KEY = re.compile(r"[^\W\d]\w*(\.\w+)*")

Groups = Mapping[str, Sequence[str]]  # group to choices


@dataclass(frozen=True)
class Given:
    """One `key=text` of the command."""

    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.key}={self.text}"


def composed(job: str, words: Sequence[str]) -> DictConfig:
    """The job's configuration. Raises DarkroomError for an unknown key, a wrong type or a missing value."""
    return checked(arguments(job, words))[0]


def checked(given: Arguments) -> tuple[DictConfig, Choices]:
    """The same, with the choices that it is made from."""
    config, choices = chosen(given)
    job = given.sources.job
    _check_filled_in(config)
    missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    if missing:
        raise DarkroomError(f"{missing[0]} has no value; give it as {missing[0]}=..., see `darkroom {job} --help`")
    check_ranges(config)
    check_used(config, choices, given.words)
    return config, choices


def chosen(given: Arguments) -> tuple[DictConfig, Choices]:
    """The configuration as far as it is given, in which keys may lack a value, and the choices that it is made from."""
    sources = given.sources
    file, known, added_known = ConfigFile(sources), groups(sources), added_groups(sources)
    items = [_given(sources.job, word, known, added_known) for word in given.words]
    usual = [item for item in items if item.key in known and not item.text.startswith("{")]
    added = [item for item in items if item.key.startswith("+")]
    said = {item.key: _chosen(item, known[item.key]) for item in usual}
    choices = Choices(
        sources,
        file.choices() | said,
        {item.key[1:]: _chosen(item, added_known[item.key[1:]]) for item in added},
    )
    config = choices.config()
    target = _target(config, choices)
    for key, value in file.values(said):
        put(target, Origin(Reader.CONFIG, sources.config), key, value)
    for item in items:
        if item not in usual and item not in added:
            put_word(target, item.key, item.text)
    if given.of_another:
        _hand_on(target, given)
    return config, choices


def _hand_on(target: Target, given: Arguments) -> None:
    """Words that another job reads. Raises DarkroomError for one with credentials, lest it be printed."""
    for word in given.of_another:
        key, _, text = word.partition("=")
        _check_no_credentials(key, unquoted(text))
    put(target, Origin(Reader.COMMAND), WORDS_OF_ANOTHER[given.sources.job], list(given.of_another))


def _check_filled_in(config: DictConfig) -> None:
    """Raises DarkroomError where what a file fills in is not there, or is not what the key takes."""
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        said = in_one_line(error).partition(" full_key: ")[0]
        raise DarkroomError(f"{error.full_key}: {said}; mend the file that it is in") from error


def _given(job: str, word: str, known: Groups, added: Groups) -> Given:
    """`known`: the groups of the job, `added`: those of the user's folder."""
    key, sign, text = word.partition("=")
    if any("\ud800" <= letter <= "\udfff" for letter in word):  # what Python makes of bytes that it cannot decode
        raise DarkroomError(
            f"{key if key.isascii() else 'a word'}: it has bytes that are no letters of this locale "
            f"({sys.getfilesystemencoding()}); set PYTHONUTF8=1, or rename what it names"
        )
    if key.startswith("+") and key[1:] not in added:
        raise refuse_added(job, key, added)
    if not (sign and _KEY.fullmatch(key.removeprefix("+"))):
        raise refuse_word(job, key or word, known)
    if key in added:
        raise DarkroomError(f"{word}: {key} is no group of `darkroom {job}` but one of yours; write +{word}")
    _check_no_credentials(key, unquoted(text))
    return Given(key, text)


def _check_no_credentials(key: str, text: str) -> None:
    if key.rpartition(".")[2] not in PROMPT_TEXTS and has_credentials(text):
        raise credentials_in(key)


def _chosen(item: Given, known: Sequence[str]) -> str:
    """One of a group's choices."""
    choice = unquoted(item.text)
    if choice not in known:
        raise refuse_choice(str(item), choice, known)
    return choice


def _target(config: DictConfig, choices: Choices) -> Target:
    """A key that there is not is refused with the choices of its group that do have it."""
    job, names = choices.sources.job, list(groups(choices.sources))
    return Target(config, lambda key: refuse_key(job, key, config, names, _homes(choices, key)))


def _homes(choices: Choices, key: str) -> list[str]:
    """Other choices of the key's group that do have the key, such as `prompts=file`."""
    group = key.partition(".")[0]
    others = [name for name in groups(choices.sources).get(group, ()) if name != choices.usual.get(group)]
    return [f"{group}={name}" for name in others if place_of(choices.but(group, name).config(), key)]
