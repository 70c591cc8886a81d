"""Extractors and scorers of one's own, named by the function that makes them, as in `my_package.my_module:make`.

The module must be importable on every machine that extracts features: installed, or on PYTHONPATH. `make(spec)` takes
the ExtractorSpec (its `source`, `options` and `device` are the plug-in's to use) and returns an Extractor, a
CaptionExtractor, an ImageScorer or a RowScorer; `sharpness.py` is the shortest there is. One whose packages conflict
with Darkroom's is better a command (`command_scorer.py`). A scorer that stands on another network's features is one:

    def make(spec):
        clip = load_extractor(ExtractorSpec("clip", "openai/clip-vit-large-patch14", device=spec.device))
        return AestheticHead(clip, Path(spec.source))

Captions of a CaptionExtractor, such as SigLIP, have a CLIP score, and its pictures CMMD. A scorer that says in its
`info` that it reads captions, or columns, has a row of shuffled prompts beside its figures. `info` says what figures
are called: those of a scorer named `aesthetic` are `aesthetic.score`, or by the names in its `scores`. Its features are
known by more than what `info` digests: by its code, its source, its options and its resizing, so that those of changed
code are made again. `domain/source_code.py` says how far its code goes.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import walk
from darkroom.domain.settings import mapping_text
from darkroom.domain.source_code import imported_function, module_lines
from darkroom.evaluation.extractor import (
    CaptionExtractor,
    Extractor,
    ExtractorSpec,
    ImageScorer,
    RowScorer,
    Scores,
)
from darkroom.runs.features import ExtractorInfo, Score


def is_plug_in(name: str) -> bool:
    return ":" in name


@dataclass(frozen=True, eq=False)
class _Features:
    """A plug-in under an `info` that covers its code."""

    info: ExtractorInfo
    made: Any

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return self.made.features(_copies(pictures))


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
        return self.made.scores(_copies(pictures), captions)


class _RowScores(_Scores):
    def row_scores(self, pictures: Sequence[np.ndarray], rows: Sequence[Mapping[str, Any]]) -> Sequence[Scores | str]:
        return self.made.row_scores(_copies(pictures), rows)


def _copies(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a plug-in writes into its images is nothing that another extractor may see."""
    return [picture.copy() for picture in pictures]


def load_plug_in(spec: ExtractorSpec) -> Extractor:
    """What its function makes. Raises DarkroomError where it cannot be imported, or makes something else."""
    make = imported_function(spec.name, "extractor ")
    made = make(spec)
    fault = _fault(made)
    if fault:
        raise DarkroomError(f"extractor {spec.name}: {fault}; see pipeline/darkroom/evaluation/plugins.py")
    kind = next(own for protocol, own in _KINDS if isinstance(made, protocol))
    code = code_digest(spec.name.partition(":")[0], spec)
    reads_captions = made.info.reads_captions if made.info.is_scorer else isinstance(made, CaptionExtractor)
    return kind(replace(made.info, code=code, reads_captions=reads_captions), made)


_KINDS: Sequence[tuple[type, type]] = (
    (RowScorer, _RowScores),
    (ImageScorer, _Scores),
    (CaptionExtractor, _Captions),
    (object, _Features),
)


def _fault(made: object) -> str | None:
    info = getattr(made, "info", None)
    is_scorer = isinstance(made, ImageScorer | RowScorer)
    if not isinstance(info, ExtractorInfo) or not (hasattr(made, "features") or is_scorer):
        return f"it made a {type(made).__name__}, which has no info, or neither features nor scores"
    if is_scorer != info.is_scorer or (is_scorer and info.dimension != len(info.named_scores)):
        return "what has scores needs an info with is_scorer=True and a dimension for each score, and nothing else has"
    for score in info.scores:
        if not isinstance(score, Score):
            return f"info.scores has {score!r}; give each as darkroom.runs.features.Score(name, higher_is_better)"
    for name in (info.name, *(score.name for score in info.named_scores)):
        if not name.isidentifier():
            return f"info.name={name!r} cannot be part of a figure's name; use letters, digits and _"
    if info.columns and not isinstance(made, RowScorer):
        return f"info.columns={', '.join(info.columns)} are what row_scores is given, and it has none"
    return None


def code_digest(module: str, spec: ExtractorSpec) -> str:
    """ "sha256:..." of the module that makes a plug-in, and of what its spec gives it, wherever either lies."""
    parts = [
        *module_lines(module),
        f"resize\0{spec.resize}",
        *(f"source\0{line}" for line in source_lines(spec.source)),
    ]
    parts += [f"options\0{mapping_text(spec.options)}"] if spec.options else []
    return f"sha256:{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}"


def source_lines(source: str | None) -> Iterator[str]:
    """A file's bytes, a folder's files, or the word itself where it is neither."""
    path = Path(source).expanduser() if source else None
    if path is None or not path.exists():
        yield str(source)
        return
    for file in [path] if path.is_file() else sorted(map(Path, walk(str(path), hidden=""))):
        name = "" if file == path else file.relative_to(path).as_posix()
        with file.open("rb") as opened:
            yield f"{name} {hashlib.file_digest(opened, 'sha256').hexdigest()}"
