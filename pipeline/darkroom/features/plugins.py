"""Extractors and scorers of one's own, named by the function that makes them, as in `my_package.my_module:make`.

The module must be importable on every machine that extracts features: installed, or on PYTHONPATH. `make(spec)` takes
the ExtractorSpec (its `source` and `device` are the plug-in's to use) and returns an Extractor, a CaptionExtractor or
an ImageScorer; `sharpness.py` is the shortest there is. A scorer that stands on another network's features is one too:

    def make(spec):
        clip = load_extractor(ExtractorSpec("clip", "openai/clip-vit-large-patch14", device=spec.device))
        return AestheticHead(clip, Path(spec.source))

Its `info` says what figures are called: those of a scorer named `aesthetic` are `aesthetic.score`. Its features are
known by more than what `info` digests: by its code, its source and its resizing, so that those of changed code are made
again. Its code is that of its module and of all that this imports, directly or not, from files that are neither
Python's own nor an installed package's: helpers beside it, the rest of its own package. Installed packages are the
environment, which no extractor's id covers; of Darkroom's modules only one that is itself the plug-in counts.
Importing runs the module's code, so nothing but the user's own command may name one.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.files import walk
from darkroom.features.extractor import CaptionExtractor, Extractor, ExtractorSpec, ImageScorer
from darkroom.runs.features import ExtractorInfo

_INSTALLED = {"site-packages", "dist-packages"}
_DARKROOM = __name__.partition(".")[0]


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


def _copies(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What a plug-in writes into its images is nothing that another extractor may see."""
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
    kind = _Scores if isinstance(made, ImageScorer) else _Captions if isinstance(made, CaptionExtractor) else _Features
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


def code_digest(module: str, spec: ExtractorSpec) -> str:
    """ "sha256:..." of the module that makes a plug-in, and of what its spec gives it, wherever either lies."""
    parts = [f"{name}\0{hashlib.sha256(data).hexdigest()}" for name, data in sorted(modules_of(module).items())]
    parts += [f"resize\0{spec.resize}", *(f"source\0{line}" for line in _source(spec.source))]
    return f"sha256:{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}"


@cache
def modules_of(first: str) -> dict[str, bytes]:
    """Module's name -> its file's bytes, as this process first saw them: what it has imported stays as it was, too."""
    found: dict[str, bytes] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name in found or (name != first and not _is_part_of(name, first)):
            continue
        spec = _spec(name)
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            continue
        found[name] = Path(spec.origin).read_bytes()
        if spec.origin.endswith(".py"):
            waiting += _imports(found[name], name if spec.submodule_search_locations is not None else spec.parent or "")
    return found


def _is_part_of(name: str, first: str) -> bool:
    top = name.partition(".")[0]
    if top == _DARKROOM or top in sys.stdlib_module_names:
        return False
    return top == first.partition(".")[0] or not _is_installed(_spec(top))


def _is_installed(spec: ModuleSpec | None) -> bool:
    """Not there at all counts too: nothing of it can be read."""
    places = [] if spec is None else [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return not places or any(_INSTALLED & set(Path(place).parts) for place in places if place)


def _spec(name: str) -> ModuleSpec | None:
    """Where a module lies; None for one that is not there, such as a package that the plug-in can do without."""
    try:
        return find_spec(name)
    except (ImportError, AttributeError, ValueError):
        return None


def _imports(source: bytes, package: str) -> Iterator[str]:
    """Every module that a file may import, in functions too; with each, the packages that it lies in."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # of another Python, for which nothing imports it here
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = _absolute("." * node.level + (node.module or ""), package)
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[:count]) for count in range(1, len(parts) + 1))


def _absolute(name: str, package: str) -> str:
    try:
        return resolve_name(name, package) if name.startswith(".") else name
    except ImportError:
        return name.lstrip(".")


def _source(source: str | None) -> Iterator[str]:
    """A file's bytes, a folder's files, or the word itself where it is neither."""
    path = Path(source).expanduser() if source else None
    if path is None or not path.exists():
        yield str(source)
        return
    for file in [path] if path.is_file() else sorted(map(Path, walk(str(path), hidden=""))):
        name = "" if file == path else file.relative_to(path).as_posix()
        with file.open("rb") as opened:
            yield f"{name} {hashlib.file_digest(opened, 'sha256').hexdigest()}"
