"""Which extractors there are, and how one is checked, inspected, pinned and loaded; and the one without weights."""

import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.evaluation.command_scorer import CommandScorer, inspect_command
from darkroom.evaluation.extractor import Extractor, ExtractorPin, ExtractorSpec
from darkroom.evaluation.inception_extractor import InceptionExtractor, inception_files, inspect_inception
from darkroom.evaluation.plugins import is_plug_in, load_plug_in
from darkroom.evaluation.preprocessing import channelwise
from darkroom.evaluation.transformers_models import (
    clip_files,
    demo_clip_files,
    dinov2_files,
    inspect_clip,
    inspect_demo_clip,
    inspect_dinov2,
    load_clip,
    load_demo_clip,
    load_dinov2,
)
from darkroom.evaluation.video_frames import FrameScorer, of_frames
from darkroom.rendering.loading import LocalFiles, loads_models, proved
from darkroom.runs.features import ExtractorInfo

_OF_COMMANDS = ("files", "columns", "lower_is_better", "start_timeout_s", "batch_timeout_s")
_GRID = 8  # of the pixel extractor, each way


@dataclass(frozen=True)
class _Entry:
    """How an extractor of one name is inspected, how it is loaded, and which files it is read from."""

    inspect: Callable[[ExtractorSpec], ExtractorInfo]
    load: Callable[[ExtractorSpec], Extractor]
    files: Callable[[ExtractorSpec], LocalFiles] | None = None


def inspect_pixels(spec: ExtractorSpec) -> ExtractorInfo:
    for field in ("source", "resize"):
        if getattr(spec, field) is not None:
            raise DarkroomError(f"extractor pixels: {field}={getattr(spec, field)} means nothing to it; leave it out")
    return ExtractorInfo("pixels", "none", f"area {_GRID}x{_GRID}", 3 * _GRID * _GRID)


class PixelExtractor:
    """A picture's colours averaged over an 8x8 grid, in [0, 1], channel by channel: needs no weights."""

    def __init__(self, spec: ExtractorSpec) -> None:
        self.info = inspect_pixels(spec)

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        rows = [channelwise(picture, (_GRID, _GRID), Image.Resampling.BOX).ravel() / 255 for picture in pictures]
        return np.stack(rows) if rows else np.empty((0, self.info.dimension), np.float32)


EXTRACTORS: dict[str, _Entry] = {
    "demo_clip": _Entry(inspect_demo_clip, load_demo_clip, demo_clip_files),
    "clip": _Entry(inspect_clip, load_clip, clip_files),
    "dinov2": _Entry(inspect_dinov2, load_dinov2, dinov2_files),
    "inception_v3": _Entry(inspect_inception, InceptionExtractor, inception_files),
    "pixels": _Entry(inspect_pixels, PixelExtractor),
}


def _of_frames(name: str) -> _Entry:
    """Of videos, by the frames' features of the extractor of this name."""
    entry = EXTRACTORS[name]

    def plain(spec: ExtractorSpec) -> ExtractorSpec:
        return replace(spec, name=name)

    return _Entry(
        lambda spec: of_frames(entry.inspect(plain(spec))),
        lambda spec: FrameScorer(entry.load(plain(spec))),  # type: ignore[arg-type, return-value]
        entry.files and (lambda spec: entry.files(plain(spec))),  # type: ignore[misc]
    )


EXTRACTORS |= {f"{name}_frames": _of_frames(name) for name in ("demo_clip", "clip", "dinov2")}


@loads_models
def inspect_extractor(spec: ExtractorSpec) -> ExtractorInfo:
    """What `load_extractor` will make, without loading a network; what comes from the hub is downloaded.

    A plug-in is loaded for it, and a command started. Raises DarkroomError in one line where something is missing, with
    the remedy.
    """
    _check(spec)
    return replace(_inspected(spec), alias=spec.alias or "")


def _inspected(spec: ExtractorSpec) -> ExtractorInfo:
    if spec.command is not None:
        return inspect_command(spec)
    if is_plug_in(spec.name):
        return load_plug_in(spec).info
    return EXTRACTORS[spec.name].inspect(spec)


def pin_extractor(spec: ExtractorSpec, info: ExtractorInfo) -> ExtractorPin:
    """What every worker must find; `info` is what `inspect_extractor` said."""
    entry = None if spec.command is not None else EXTRACTORS.get(spec.name)
    files = tuple(entry.files(spec).expected.items()) if entry and entry.files else ()
    return ExtractorPin(files, info)


def load_extractor(spec: ExtractorSpec) -> Extractor:
    """Load onto the spec's device; a plug-in may be an ImageScorer. Raises as `inspect_extractor` does, and WrongModel
    where it is not what the job has pinned, or changes meanwhile."""
    _check(spec)
    loaded = _loaded(spec)
    if spec.pin and loaded.info.extractor_id != spec.pin.info.extractor_id:
        raise WrongModel(
            f"extractor {spec.name}: on {platform.node()} its code, weights or source are not those that this job was "
            f"started with (extractor_id {loaded.info.extractor_id} there, {spec.pin.info.extractor_id} here); install "
            "the same there"
        )
    return loaded


@loads_models
def _loaded(spec: ExtractorSpec) -> Extractor:
    if spec.command is not None:
        return CommandScorer(spec)  # type: ignore[return-value]
    if is_plug_in(spec.name):
        return load_plug_in(spec)
    entry = EXTRACTORS[spec.name]
    return proved(entry.files(spec), lambda: entry.load(spec)) if entry.files else entry.load(spec)


def _check(spec: ExtractorSpec) -> None:
    if spec.batch_size < 1:
        raise DarkroomError(f"extractor {spec.name}: batch_size={spec.batch_size}; give 1 or more")
    if spec.alias is not None and not spec.alias.isidentifier():
        raise DarkroomError(f"extractor {spec.name}: alias={spec.alias!r}; give letters, digits and _")
    if spec.options is not None and (spec.command is not None or not is_plug_in(spec.name)):
        raise DarkroomError(f"extractor {spec.name}: options are of plug-ins; leave them out")
    if spec.command is not None:
        return _check_command(spec)
    for each in fields(spec):
        if each.name in _OF_COMMANDS and getattr(spec, each.name) != each.default:
            raise DarkroomError(f"extractor {spec.name}: {each.name} is of scorers with a command; leave it out")
    if spec.name not in EXTRACTORS and not is_plug_in(spec.name):
        known = ", ".join(EXTRACTORS)
        raise DarkroomError(f"extractor {spec.name} is not known; use one of {known}, or your own as my_module:make")
    return None


def _check_command(spec: ExtractorSpec) -> None:
    if spec.name in EXTRACTORS or not spec.name.isidentifier():
        raise DarkroomError(
            f"extractor {spec.name}: command: its figures cannot be called so; give it a name of its own, of letters, "
            "digits and _"
        )
    for key in ("source", "resize"):
        if getattr(spec, key) is not None:
            raise DarkroomError(
                f"extractor {spec.name}: {key}={getattr(spec, key)} means nothing to a command; say it in the command, "
                "and name what decides scores in files"
            )
    for key in ("start_timeout_s", "batch_timeout_s"):
        if not getattr(spec, key) > 0:
            raise DarkroomError(f"extractor {spec.name}: {key}={getattr(spec, key):g}; give seconds above 0")
