"""Keys of configurations: each is declared with its default, its range and one sentence of help."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, field, fields, is_dataclass, make_dataclass
from enum import Enum
from functools import cache, partial
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import Range, Setting, settings_of

IS_PLACE = "is_place"  # metadata of keys that may name a file or folder of this machine: `~` is the home folder there
IS_TEXT = "is_text"  # metadata of keys of any shape whose single values are texts
HAS_RANGES = "has_ranges"  # metadata of keys with a list of numbers, which may be given as a text with ranges
IS_SEVERAL = "is_several"  # metadata of keys with a text, which is taken whole, a list of texts, or texts by names
IS_PROMPT = "is_prompt"  # metadata of keys whose text is for a model: it is no address, whatever it looks like


def key(
    default: Any = MISSING,
    *,
    help: str,
    low: float | None = None,
    high: float = 0,
    multiple: int = 1,
    words: tuple[str, ...] = (),
    is_place: bool = False,
    is_prompt: bool = False,
    is_text: bool = False,
    has_ranges: bool = False,
    is_several: bool = False,
) -> Any:
    """A field of a schema: a value, or a group of keys, which is a dataclass to be made.

    A number lies from `low` to `high` and is a multiple of `multiple`, or is one of `words`; without a range, one of
    `words` may stand in the place of a truth value.
    """
    metadata: dict[str, Any] = {"help": help}
    metadata |= {"words": words} if words else {}
    metadata |= {} if low is None else {"low": low, "high": high, "multiple": multiple}
    metadata |= {IS_PLACE: True} if is_place else {}
    metadata |= {IS_PROMPT: True} if is_prompt else {}
    metadata |= {IS_TEXT: True} if is_text else {}
    metadata |= {HAS_RANGES: True} if has_ranges else {}
    metadata |= {IS_SEVERAL: True, IS_TEXT: True} if is_several else {}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


def schema_of(table: type, name: str) -> Any:
    """The schema of `domain.settings.ModelRef` or `Sampling`: a key a setting."""
    return make_dataclass(name, [(each.name, _kind(each), _key_of(each)) for each in settings_of(table)])


def _kind(setting: Setting) -> Any:
    if setting.is_mapping:
        return Any
    kind = word_of(setting.name, setting.choices) if setting.choices else setting.kind
    kind = list[Any] if setting.is_list else kind
    return kind | None if setting.is_optional else kind


@cache
def word_of(name: str, choices: tuple[str, ...]) -> Any:
    """The type of a key that is one of a few words."""
    return Enum(name.capitalize(), {word: word for word in choices})


def _key_of(setting: Setting) -> Any:
    default = MISSING if setting.default is NO_DEFAULT else setting.default
    if setting.choices:
        default = word_of(setting.name, setting.choices)[default]
    default = partial(list, default) if setting.is_list else default
    allowed: dict[str, Any] = vars(setting.allowed) if setting.allowed else {}
    return key(default, help=setting.help, is_place=setting.is_place, is_prompt=setting.is_prompt, **allowed)


@cache
def schema_of_options(options: type, name: str, *, job: str | None = None, **others: Any) -> Any:
    """The schema of one of `api.options`: a key a field; `others`: defaults that differ on the command line.

    `job`: the one that has the keys; None: all keys.
    """
    hints = get_type_hints(options)
    read = [each for each in fields(options) if job is None or job in (each.metadata["jobs"] or (job,))]
    return make_dataclass(name, [_option_key(each, hints[each.name], others) for each in read])


def _option_key(option: Field[Any], hint: Any, others: Mapping[str, Any]) -> tuple[str, Any, Any]:
    """(name, type, key)."""
    about = {name: value for name, value in option.metadata.items() if name not in ("jobs", "on_ray")}
    kind, default = _kind_of_option(option.name, hint, about), others.get(option.name, option.default)
    if is_dataclass(hint):  # a group of keys, which stands for itself
        return option.name, kind, key(kind, help=about["help"])
    if option.name in others and default is None:
        kind = kind | None
    if (choices := about.pop("choices")) and default is not None:
        default = word_of(option.name, choices)[default]
    if isinstance(default, tuple):
        default = partial(list, default)
    return option.name, kind, key(MISSING if default is NO_DEFAULT else default, **about)


def _kind_of_option(name: str, hint: Any, about: dict[str, Any]) -> Any:
    """As a configuration holds it: choices are words, several values a list, and a number, or a truth value, or a word
    is anything."""
    if about["choices"]:
        word = word_of(name, about["choices"])
        return word | None if type(None) in get_args(hint) else word
    if about["words"] or about.pop("is_mapping", False) or about.get(IS_SEVERAL):
        return Any
    if type(None) in get_args(hint):
        return _kind_of_option(name, next(kind for kind in get_args(hint) if kind is not type(None)), about) | None
    if isinstance(hint, type) and is_dataclass(hint):
        return schema_of_options(hint, hint.__name__)
    if get_origin(hint) is not Sequence:
        return hint
    item: Any = get_args(hint)[0]
    is_group = is_dataclass(item)
    held: Any = schema_of_options(item, item.__name__) if is_group else str if item is str else Any
    return list[held]


# Read by others ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Key:
    """One key of a schema, with its place among the groups of keys."""

    name: str  # such as sampling.seed
    kind: Any  # its type, without None
    is_optional: bool  # it may be null
    field: Field[Any]

    @property
    def is_group(self) -> bool:
        return is_dataclass(self.kind)


def keys_of(schema: Any, above: str = "") -> Iterator[Key]:
    """Every key of a schema, in order; a group comes before the keys in it."""
    hints = get_type_hints(schema)
    for each in fields(schema):
        kinds = [kind for kind in get_args(hints[each.name]) if kind is not type(None)]
        is_optional = type(None) in get_args(hints[each.name])
        found = Key(f"{above}{each.name}", kinds[0] if is_optional else hints[each.name], is_optional, each)
        yield found
        if found.is_group:
            yield from keys_of(found.kind, f"{found.name}.")


def range_of(metadata: Mapping[str, Any]) -> Range | None:
    """Of a field that `key` made; None where any value goes."""
    return Range(metadata["low"], metadata["high"], metadata["multiple"]) if "low" in metadata else None


def range_text(metadata: Mapping[str, Any]) -> str:
    """Such as "a whole number from 1 to 4096, or auto", or "true or false, or auto"; empty where any value goes."""
    allowed, words = range_of(metadata), metadata.get("words", ())
    if not allowed:
        return ", or ".join(("true or false", *words)) if words else ""
    number = "a whole number " if words else "" if allowed.multiple > 1 else "a number "
    return ", or ".join((f"{number}{allowed}", *words))


def check_ranges(config: DictConfig) -> None:
    """Raises DarkroomError for the first number out of its range; what has no value is not looked at."""
    for name, value, metadata in _given(config):
        allowed = range_of(metadata)
        if allowed and not _fits(value, allowed, metadata.get("words", ())):
            raise DarkroomError(f"{name}={value} is out of range; give {range_text(metadata)}")


def _given(config: DictConfig, above: str = "") -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Name, value and metadata of every declared key that has a value."""
    kind: Any = OmegaConf.get_type(config)
    declared = {each.name: each.metadata for each in fields(kind)} if is_dataclass(kind) else {}
    for name in map(str, config):
        if OmegaConf.is_missing(config, name) or config[name] is None:
            continue
        if isinstance(config[name], DictConfig):
            yield from _given(config[name], f"{above}{name}.")
        elif name in declared:
            yield f"{above}{name}", config[name], declared[name]


def _fits(value: Any, allowed: Range, words: Collection[str]) -> bool:
    """Where words may stand too, the schema takes anything."""
    if words:
        return value in words or (type(value) is int and value in allowed)
    return value in allowed
