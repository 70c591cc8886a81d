"""Extractors and scorers of one's own, named by the function that makes them, as in `my_package.my_module:make`.

The module must be importable on every machine that scores: installed, or on PYTHONPATH. `make(spec)` takes the
ExtractorSpec (its `source` and `device` are the plug-in's to use) and returns an Extractor, a CaptionScorer or an
ImageScorer; `sharpness.py` is the shortest there is. A scorer that stands on another network's features is one too:

    def make(spec):
        clip = load_extractor(ExtractorSpec("clip", "openai/clip-vit-large-patch14", device=spec.device))
        return AestheticHead(clip, Path(spec.source))

Its `info` says what figures are called: those of a scorer named `aesthetic` are `aesthetic.score`. Importing runs the
module's code, so nothing but the user's own command may name one. Knows none of the extractors that are ours.
"""

from importlib import import_module
from typing import Any

from pipeline.domain.errors import DarkroomError
from pipeline.features.extractor import ExtractorInfo, ImageScorer
from pipeline.features.spec import ExtractorSpec


def is_plug_in(name: str) -> bool:
    return ":" in name


def load_plug_in(spec: ExtractorSpec) -> Any:
    """What its function makes. Raises DarkroomError where it cannot be imported, or makes something else."""
    module, _, function = spec.name.partition(":")
    try:
        make = getattr(import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise DarkroomError(
            f"extractor {spec.name}: cannot be imported ({error}); install its package, or put its folder on PYTHONPATH"
        ) from None
    made = make(spec)
    fault = _fault(made)
    if fault:
        raise DarkroomError(f"extractor {spec.name}: {fault}; see pipeline/features/plugins.py")
    return made


def _fault(made: object) -> str | None:
    info = getattr(made, "info", None)
    if not isinstance(info, ExtractorInfo) or not (hasattr(made, "features") or hasattr(made, "scores")):
        return f"it made a {type(made).__name__}, which has no info, or neither features nor scores"
    if isinstance(made, ImageScorer) != info.is_scorer or (info.is_scorer and info.dimension != 1):
        return "what has scores needs an info with is_scorer=True and dimension=1, and nothing else has"
    if not info.name.isidentifier():
        return f"info.name={info.name!r} cannot begin a figure's name; use letters, digits and _"
    return None
