"""Chooses, checks and loads an extractor. The only place that knows which ones there are."""

from collections.abc import Callable, Mapping

from pipeline.domain.errors import DarkroomError
from pipeline.features.clip import inspect_clip, inspect_demo_clip, load_clip, load_demo_clip
from pipeline.features.dinov2 import inspect_dinov2, load_dinov2
from pipeline.features.extractor import CaptionScorer, Extractor, ExtractorInfo
from pipeline.features.inception_extractor import InceptionExtractor, inspect_inception
from pipeline.features.pixels import PixelExtractor, inspect_pixels
from pipeline.features.plugins import is_plug_in, load_plug_in
from pipeline.features.spec import ExtractorSpec

# Name -> (how it is looked at, how it is loaded).
EXTRACTORS: Mapping[str, tuple[Callable[[ExtractorSpec], ExtractorInfo], Callable[[ExtractorSpec], Extractor]]] = {
    "demo_clip": (inspect_demo_clip, load_demo_clip),
    "clip": (inspect_clip, load_clip),
    "dinov2": (inspect_dinov2, load_dinov2),
    "inception_v3": (inspect_inception, InceptionExtractor),
    "pixels": (inspect_pixels, PixelExtractor),
}


def inspect_extractor(spec: ExtractorSpec) -> ExtractorInfo:
    """What `load_extractor` will make, without loading a network; what comes from the hub is downloaded.

    A plug-in alone is loaded for it. Raises DarkroomError in one line where something is missing, with the remedy.
    """
    _check(spec)
    if is_plug_in(spec.name):
        return load_plug_in(spec).info
    return EXTRACTORS[spec.name][0](spec)


def load_extractor(spec: ExtractorSpec) -> Extractor:
    """Load onto the spec's device; a plug-in may be an ImageScorer. Raises as `inspect_extractor` does."""
    _check(spec)
    if is_plug_in(spec.name):
        return load_plug_in(spec)
    return EXTRACTORS[spec.name][1](spec)


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
