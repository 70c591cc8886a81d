"""What a caller asks for, as frozen values: sampling, output, engine, evaluation; with the command line's defaults.

Every value is checked where it is made: a wrong type, an unknown choice or a number out of range raises DarkroomError.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from os import PathLike
from typing import Any, get_args, get_origin, get_type_hints

from darkroom.api.annotations import check_kind
from darkroom.domain.errors import DarkroomError, has_credentials
from darkroom.domain.settings import SETTINGS, ModelRef, Sampling, Setting, Value, settings_of

AUTO = "auto"
_MAX_BATCH_SIZE = 4096
_MANY = 1_000_000_000
_SECRET = "credentials in an address end up in logs; take them out of it and use the environment, ~/.aws or a role"


def _in(low: float, high: float, default: Any) -> Any:
    """A number with its range."""
    return field(default=default, metadata={"low": low, "high": high})


def _one_of(*choices: str) -> Any:
    """A text that is one of a few; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class OutputOptions:
    """Where images go, and as what. A `uri` of None is runs/<name>-<digest> below the working directory."""

    uri: str | None = None
    endpoint_url: str | None = None  # of an S3 that is not Amazon's
    layout: str = _one_of("files", "webdataset", "parquet")
    image_format: str = _one_of("png", "webp", "jpeg")
    quality: int = _in(1, 100, 95)  # of webp and jpeg

    def __post_init__(self) -> None:
        _check(self, "output.")
        if self.uri is not None and has_credentials(self.uri):
            raise DarkroomError(f"output.uri: {_SECRET}")
        scheme, is_address, _ = (self.uri or "").partition("://")
        if self.endpoint_url is not None and (not is_address or scheme == "file"):
            where = "not given, which is a folder" if self.uri is None else f"the folder {self.uri}"
            raise DarkroomError(
                f"output.endpoint_url is for an object store, and output.uri is {where}; leave it out, or give "
                "output.uri=s3://bucket/prefix"
            )


@dataclass(frozen=True)
class EngineOptions:
    """What executes the work. None of it changes an image, but batch_size and compile, which may move low bits."""

    kind: str = _one_of("local", "ray")  # one worker in this process, or Ray actors
    address: str | None = None  # of a Ray cluster; None: a Ray of this machine's own, or the one that is joined already
    num_workers: int | None = _in(1, 100_000, None)  # None: all GPUs, or all cores
    batch_size: int | str = 8  # images in every call of the model; or auto: found by trying, and kept with the run
    shard_size: int = _in(1, 1_000_000, 64)  # prompt rows that are committed together
    max_attempts: int = _in(1, 100, 3)
    batch_timeout_s: float | None = _in(0.1, 1_000_000, None)
    device: str = _one_of("auto", "cpu", "cuda", "mps")
    compile: bool = False
    profile: bool = False

    def __post_init__(self) -> None:
        size = self.batch_size
        if size != AUTO and not (type(size) is int and 1 <= size <= _MAX_BATCH_SIZE):
            raise DarkroomError(
                f"engine.batch_size={size} is out of range; give a whole number from 1 to {_MAX_BATCH_SIZE}, or {AUTO}"
            )
        _check(self, "engine.", but="batch_size")
        if self.kind == "local" and (self.address is not None or self.num_workers not in (None, 1)):
            name = "num_workers" if self.address is None else "address"
            raise DarkroomError(
                f"engine.{name}={getattr(self, name)}: engine=local is one worker in this process; leave it out, or "
                "use engine=ray"
            )

    @property
    def images_a_batch(self) -> int:
        """`batch_size` as a number, once `auto` is settled."""
        assert isinstance(self.batch_size, int)
        return self.batch_size


@dataclass(frozen=True)
class Expectation:
    """Between which values a figure must lie in every cell."""

    figure: str  # such as inception_v3.fid
    lowest: float = -math.inf
    highest: float = math.inf

    def __post_init__(self) -> None:
        _check(self, "expect.")


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, against what."""

    reference: str | None = None  # demo, images, tars, Parquet, a run, or an .npz of statistics
    reference_endpoint_url: str | None = None
    extractors: Sequence[str | Mapping[str, Any]] = ("demo_clip",)  # names, or {"name": ..., "source": ...}
    metrics: Sequence[str] | None = None  # such as clip.kid, or kid of all that have it; None: the extractors' choice
    clip_convention: str = "hessel"
    seed: int = _in(0, 2**63 - 1, 0)  # of subsets and resamples
    expect: Sequence[Expectation] = ()

    def __post_init__(self) -> None:
        _check(self, "evaluation.")


@dataclass(frozen=True)
class ComparisonOptions:
    """What two runs are compared by."""

    metrics: Sequence[str] | None = None  # such as demo_clip.clip_score; None: all of the extractors' with intervals
    extractors: Sequence[str | Mapping[str, Any]] | None = None  # None: those that the metrics name
    reference: str | None = None
    reference_endpoint_url: str | None = None
    clip_convention: str = "hessel"
    tolerance: float = _in(0, 1e12, 0.0)  # by which b may be worse, in each metric's own unit
    seed: int = _in(0, 2**63 - 1, 0)  # of subsets and resamples

    def __post_init__(self) -> None:
        _check(self, "")


@dataclass(frozen=True)
class ModelPlace:
    """What a stored run does not decide of its model."""

    repo_id: str | None = None  # where it lies now: its folder, or one that holds it and others; None: where it lay
    trust_remote_code: bool = False  # run code that the model brings


@dataclass(frozen=True)
class HalvingOptions:
    """Successive halving over a sweep's cells."""

    figure: str  # such as demo_clip.clip_score
    num_images: int = _in(2, _MANY, 64)  # of each cell in the first round; twice as many in the next
    keep: float = _in(0, 1, 0.5)  # share of the cells that go on

    def __post_init__(self) -> None:
        _check(self, "halving.")


# Settings of sampling and of the model -------------------------------------------------------------------------------


def sampling_defaults() -> dict[str, Value]:
    """What is asked for where nothing is said; None: what the model says."""
    return {each.name: each.default for each in settings_of(Sampling)}


def with_settings(
    model: ModelRef, sampling: Mapping[str, Value], settings: Mapping[str, Any]
) -> tuple[ModelRef, dict[str, Value]]:
    """Both with these settings by their names, checked; an unknown one is refused with the nearest name."""
    for name in settings:
        if name not in SETTINGS:
            raise DarkroomError(unknown(name, tuple(SETTINGS), "setting"))
    given: dict[str, Any] = {name: _setting_value(SETTINGS[name], value) for name, value in settings.items()}
    named = {each.name: given[each.name] for each in settings_of(ModelRef) if each.name in given}
    shaped = {each.name: given[each.name] for each in settings_of(Sampling) if each.name in given}
    return checked_model(replace(model, **named)), {**sampling, **shaped}


def _setting_value(setting: Setting, value: Any) -> Any:
    """As the setting's kind, in its range. Raises DarkroomError."""
    if value is None and setting.is_optional:
        return None
    found = _converted(setting.name, setting.kind, value)
    if setting.allowed and found not in setting.allowed:
        raise DarkroomError(f"{_key(setting)}={found} is out of range; give {setting.allowed}")
    if setting.choices and found not in setting.choices:
        raise DarkroomError(f"{_key(setting)}={found}: no such choice; choices are {', '.join(setting.choices)}")
    return found


def _key(setting: Setting) -> str:
    return f"{'sampling' if setting in settings_of(Sampling) else 'model'}.{setting.name}"


def checked_model(model: ModelRef) -> ModelRef:
    """The same. Raises DarkroomError for a model without a name, or with a setting that cannot be."""
    if not model.repo_id:
        raise DarkroomError("model.repo_id has no value; give a hub id or a local folder")
    if has_credentials(model.repo_id):
        raise DarkroomError(f"model.repo_id: {_SECRET}")
    for each in settings_of(ModelRef):
        _setting_value(each, getattr(model, each.name))
    return model


# Values ---------------------------------------------------------------------------------------------------------------


def unknown(name: str, known: Sequence[str], what: str) -> str:
    """What is said of a name that is none: the nearest that there is, and all of them."""
    longer = [each for each in known if each.startswith(name)]
    close = (longer or get_close_matches(name, known, 1))[:1]
    return f"no {what} {name!r}; {f'did you mean {close[0]}? There' if close else 'there'} are {', '.join(known)}"


def _converted(name: str, kind: type, value: Any) -> Any:
    """The value as this kind; numbers as text where text is needed, whole numbers as numbers."""
    if kind is str and isinstance(value, PathLike):
        return str(value)
    if kind is float and type(value) is int:
        return float(value)
    if kind is int and type(value) is float and value.is_integer():
        return int(value)
    if kind is str and type(value) in (int, float):
        return str(value)
    if type(value) is not kind and not (kind in (int, float) and _is_number(value, kind)):
        needed = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
        raise DarkroomError(f"{name}={value!r}: give {needed}")
    return kind(value)


def _is_list(options: Any, name: str, value: Any) -> bool:
    """Whether the field takes several values, which are looked at where they are used. Raises DarkroomError for one."""
    hint = get_type_hints(type(options))[name]
    if Sequence not in (get_origin(hint), *map(get_origin, get_args(hint))):
        return False
    if isinstance(value, str | Mapping):
        raise DarkroomError(f"{name}={value!r}: give a list, such as [{value!r}]")
    check_kind(name, value, hint)
    return True


def _is_number(value: Any, wanted: type) -> bool:
    """Of a kind that numpy or pandas make, which behaves as Python's own."""
    return not isinstance(value, str | bool) and hasattr(value, "__index__" if wanted is int else "__float__")


def _check(options: Any, prefix: str, but: str = "") -> None:
    """Types, choices and ranges of a value's fields."""
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name == but or _is_list(options, each.name, value):
            continue
        kinds = get_args(hint := get_type_hints(type(options))[each.name]) or (hint,)
        value = None if value is None and type(None) in kinds else _converted(each.name, kinds[0], value)
        object.__setattr__(options, each.name, value)
        limits = each.metadata
        if "choices" in limits and value not in limits["choices"]:
            raise DarkroomError(
                f"{prefix}{each.name}={value}: no such choice; choices are {', '.join(limits['choices'])}"
            )
        if "low" in limits and value is not None and not limits["low"] <= value <= limits["high"]:
            raise DarkroomError(
                f"{prefix}{each.name}={value} is out of range; give a number from {limits['low']} to {limits['high']}"
            )
