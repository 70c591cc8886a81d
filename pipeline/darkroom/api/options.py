"""What a caller asks for, as frozen values: sampling, output, engine, evaluation; with the command line's defaults.

Every value is checked where it is made: a wrong type, an unknown choice or a number out of range raises DarkroomError.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from os import PathLike
from typing import Any, get_args, get_origin, get_type_hints

from darkroom.domain.cells import ModelRef
from darkroom.domain.errors import DarkroomError
from darkroom.domain.secrets import has_credentials

AUTO = "auto"
MAX_SIDE = 16384  # pixels
_MAX_BATCH_SIZE = 4096
_MANY = 1_000_000_000
_DTYPES = ("auto", "float32", "float16", "bfloat16", "float8")
_SECRET = "credentials in an address end up in logs; take them out of it and use the environment, ~/.aws or a role"
# Settings of a model and of sampling that tell no cells apart, and why.
NO_AXES = {
    "seed": "cells share their noise, so that they differ by their settings alone; sampling.num_images_per_prompt=4 "
    "gives each prompt four seeds, and another run (sampling.seed, output.uri) other ones",
    "num_images_per_prompt": "cells share their images' noise one by one, so all have equally many; give it once as "
    "sampling.num_images_per_prompt",
    "trust_remote_code": "whether a model's own code may run is said once, by the command, as model.trust_remote_code",
}


def _in(low: float, high: float, default: Any) -> Any:
    """A number with its range."""
    return field(default=default, metadata={"low": low, "high": high})


def _one_of(*choices: str) -> Any:
    """A text that is one of a few; the first is the default."""
    return field(default=choices[0], metadata={"choices": choices})


@dataclass(frozen=True)
class SamplingOptions:
    """How prompts become images, by diffusers' names. A size of None is the model's own."""

    scheduler: str = "default"
    guidance_scale: float = _in(0, 1000, 5.0)
    num_inference_steps: int = _in(1, 10_000, 20)
    num_images_per_prompt: int = _in(1, 1_000_000, 1)
    height: int | None = _in(8, MAX_SIDE, None)
    width: int | None = _in(8, MAX_SIDE, None)
    negative_prompt: str = ""
    seed: int = _in(0, 2**63 - 1, 0)
    guidance_start: float = _in(0, 1, 0.0)
    guidance_stop: float = _in(0, 1, 1.0)
    cache_interval: int = _in(1, 1000, 1)

    def __post_init__(self) -> None:
        _check(self, "sampling.")


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


# Settings by name --------------------------------------------------------------------------------------------------


SAMPLING = tuple(each.name for each in fields(SamplingOptions))
MODEL = tuple(each.name for each in fields(ModelRef))
AXES = tuple(name for name in (*SAMPLING, *MODEL) if name not in NO_AXES)


def with_settings(
    model: ModelRef, sampling: SamplingOptions, settings: Mapping[str, Any]
) -> tuple[ModelRef, SamplingOptions]:
    """Both with these settings by their names, checked; an unknown one is refused with the nearest name."""
    for name in settings:
        if name not in (*SAMPLING, *MODEL):
            raise DarkroomError(unknown(name, (*SAMPLING, *MODEL), "setting"))
    shaped = {name: _converted(SamplingOptions, name, settings[name]) for name in settings if name in SAMPLING}
    named = {name: _converted(ModelRef, name, settings[name]) for name in settings if name in MODEL}
    return checked_model(_replaced(model, named)), _replaced(sampling, shaped)


def checked_model(model: ModelRef) -> ModelRef:
    """The same. Raises DarkroomError for a model without a name, or of a number type that there is not."""
    if not model.repo_id:
        raise DarkroomError("model.repo_id has no value; give a hub id or a local folder")
    if has_credentials(model.repo_id):
        raise DarkroomError(f"model.repo_id: {_SECRET}")
    if model.dtype not in _DTYPES:
        raise DarkroomError(f"model.dtype={model.dtype}: no such choice; choices are {', '.join(_DTYPES)}")
    return model


def unknown(name: str, known: Sequence[str], what: str) -> str:
    """What is said of a name that is none: the nearest that there is, and all of them."""
    longer = [each for each in known if each.startswith(name)]
    close = (longer or get_close_matches(name, known, 1))[:1]
    return f"no {what} {name!r}; {f'did you mean {close[0]}? There' if close else 'there'} are {', '.join(known)}"


def _replaced(value: Any, changes: Mapping[str, Any]) -> Any:
    return type(value)(**{**{each.name: getattr(value, each.name) for each in fields(value)}, **changes})


def _converted(kind: type, name: str, value: Any) -> Any:
    """The value as the field's type; numbers as text where text is needed, whole numbers as numbers."""
    hint = get_type_hints(kind)[name]
    options = get_args(hint) or (hint,)
    if value is None and type(None) in options:
        return None
    wanted = options[0]
    if wanted is str and isinstance(value, PathLike):
        return str(value)
    if wanted is float and type(value) is int:
        return float(value)
    if wanted is int and type(value) is float and value.is_integer():
        return int(value)
    if wanted is str and type(value) in (int, float):
        return str(value)
    if type(value) is not wanted and not (wanted in (int, float) and _is_number(value, wanted)):
        needed = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[wanted]
        raise DarkroomError(f"{name}={value!r}: give {needed}")
    return wanted(value)


def _is_list(options: Any, name: str, value: Any) -> bool:
    """Whether the field takes several values, which are looked at where they are used. Raises DarkroomError for one."""
    hint = get_type_hints(type(options))[name]
    if Sequence not in (get_origin(hint), *map(get_origin, get_args(hint))):
        return False
    if isinstance(value, str | Mapping):
        raise DarkroomError(f"{name}={value!r}: give a list, such as [{value!r}]")
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
        value = _converted(type(options), each.name, value)
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
