"""Chooses, checks and loads an extractor. The only place that knows which ones there are."""

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.features.clip import (
    clip_files,
    demo_clip_files,
    inspect_clip,
    inspect_demo_clip,
    load_clip,
    load_demo_clip,
)
from darkroom.features.dinov2 import dinov2_files, inspect_dinov2, load_dinov2
from darkroom.features.extractor import CaptionScorer, Extractor, ExtractorInfo
from darkroom.features.inception_extractor import InceptionExtractor, inception_files, inspect_inception
from darkroom.features.pixels import PixelExtractor, inspect_pixels
from darkroom.features.plugins import is_plug_in, load_plug_in
from darkroom.features.spec import ExtractorSpec, Seen
from darkroom.rendering.proof import LocalFiles, proved


@dataclass(frozen=True)
class _Kind:
    """How an extractor of one name is looked at, how it is loaded, and which files it is read from."""

    inspect: Callable[[ExtractorSpec], ExtractorInfo]
    load: Callable[[ExtractorSpec], Extractor]
    files: Callable[[ExtractorSpec], LocalFiles] | None = None


EXTRACTORS: Mapping[str, _Kind] = {
    "demo_clip": _Kind(inspect_demo_clip, load_demo_clip, demo_clip_files),
    "clip": _Kind(inspect_clip, load_clip, clip_files),
    "dinov2": _Kind(inspect_dinov2, load_dinov2, dinov2_files),
    "inception_v3": _Kind(inspect_inception, InceptionExtractor, inception_files),
    "pixels": _Kind(inspect_pixels, PixelExtractor),
}


def inspect_extractor(spec: ExtractorSpec) -> ExtractorInfo:
    """What `load_extractor` will make, without loading a network; what comes from the hub is downloaded.

    A plug-in alone is loaded for it. Raises DarkroomError in one line where something is missing, with the remedy.
    """
    _check(spec)
    if is_plug_in(spec.name):
        return load_plug_in(spec).info
    return EXTRACTORS[spec.name].inspect(spec)


def as_seen(spec: ExtractorSpec, info: ExtractorInfo) -> Seen:
    """What every worker must find; `info` is what `inspect_extractor` said."""
    files = None if is_plug_in(spec.name) else EXTRACTORS[spec.name].files
    return Seen(tuple(files(spec).expected.items()) if files else (), info.extractor_id)


def load_extractor(spec: ExtractorSpec) -> Extractor:
    """Load onto the spec's device; a plug-in may be an ImageScorer. Raises as `inspect_extractor` does, and WrongModel
    where it is not what the job has seen, or changes meanwhile."""
    _check(spec)
    loaded = _loaded(spec)
    if spec.seen and loaded.info.extractor_id != spec.seen.extractor_id:
        raise WrongModel(
            f"extractor {spec.name}: on {platform.node()} its code, weights or source are not those that this job was "
            f"started with (extractor_id {loaded.info.extractor_id} there, {spec.seen.extractor_id} here); install the "
            "same there"
        )
    return loaded


def _loaded(spec: ExtractorSpec) -> Extractor:
    if is_plug_in(spec.name):
        return load_plug_in(spec)
    kind = EXTRACTORS[spec.name]
    return proved(kind.files(spec), lambda: kind.load(spec)) if kind.files else kind.load(spec)


def load_caption_scorer(spec: ExtractorSpec) -> CaptionScorer:
    """An extractor that reads captions too. Raises DarkroomError where the spec names one that does not."""
    extractor = load_extractor(spec)
    if not isinstance(extractor, CaptionScorer):
        raise DarkroomError(f"extractor {spec.name} reads no captions; use demo_clip or clip")
    return extractor


def _check(spec: ExtractorSpec) -> None:
    if spec.name not in EXTRACTORS and not is_plug_in(spec.name):
        known = ", ".join(EXTRACTORS)
        raise DarkroomError(f"extractor {spec.name} is not known; use one of {known}, or your own as my_module:make")
    if spec.batch_size < 1:
        raise DarkroomError(f"extractor {spec.name}: batch_size={spec.batch_size}; give 1 or more")
