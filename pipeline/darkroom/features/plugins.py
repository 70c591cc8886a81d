"""Extractors and scorers of one's own, named by the function that makes them, as in `my_package.my_module:make`.

The module must be importable on every machine that scores: installed, or on PYTHONPATH. `make(spec)` takes the
ExtractorSpec (its `source` and `device` are the plug-in's to use) and returns an Extractor, a CaptionScorer or an
ImageScorer; `sharpness.py` is the shortest there is. A scorer that stands on another network's features is one too:

    def make(spec):
        clip = load_extractor(ExtractorSpec("clip", "openai/clip-vit-large-patch14", device=spec.device))
        return AestheticHead(clip, Path(spec.source))

Its `info` says what figures are called: those of a scorer named `aesthetic` are `aesthetic.score`. Its scores are known
by more than what `info` digests: by the code of the plug-in's modules and by its source too (see `code.py`), so that
scores of changed code are made again. Importing runs the module's code, so nothing but the user's own command may name
one. Knows none of the extractors that are ours.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.features.code import code_digest
from darkroom.features.extractor import CaptionScorer, Extractor, ExtractorInfo, ImageScorer
from darkroom.features.spec import ExtractorSpec


def is_plug_in(name: str) -> bool:
    return ":" in name


@dataclass(frozen=True, eq=False)
class _Features:
    """A plug-in under an `info` that covers its code."""

    info: ExtractorInfo
    made: Any

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return self.made.features(_own(pictures))


class _Captions(_Features):
    def caption_features(self, captions: Sequence[str]) -> np.ndarray:
        return self.made.caption_features(captions)

    def truncated(self, captions: Sequence[str]) -> np.ndarray:
        return self.made.truncated(captions)


@dataclass(frozen=True, eq=False)
class _Scores:
    info: ExtractorInfo
    made: Any

    def scores(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        return self.made.scores(_own(pictures), captions)


def _own(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Copies: what a plug-in writes into its pictures is nothing that another extractor may see."""
    return [picture.copy() for picture in pictures]


def load_plug_in(spec: ExtractorSpec) -> Extractor:
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
        raise DarkroomError(f"extractor {spec.name}: {fault}; see pipeline/darkroom/features/plugins.py")
    kind = _Scores if isinstance(made, ImageScorer) else _Captions if isinstance(made, CaptionScorer) else _Features
    return kind(replace(made.info, code=code_digest(module, spec)), made)  # type: ignore[return-value]


def _fault(made: object) -> str | None:
    info = getattr(made, "info", None)
    if not isinstance(info, ExtractorInfo) or not (hasattr(made, "features") or hasattr(made, "scores")):
        return f"it made a {type(made).__name__}, which has no info, or neither features nor scores"
    if isinstance(made, ImageScorer) != info.is_scorer or (info.is_scorer and info.dimension != 1):
        return "what has scores needs an info with is_scorer=True and dimension=1, and nothing else has"
    if not info.name.isidentifier():
        return f"info.name={info.name!r} cannot begin a figure's name; use letters, digits and _"
    return None
