"""What decides a plug-in's features beside what its author digests: its code, its source, its resizing.

Its code is that of its module and of all that this imports, directly or not, from files that are neither Python's own
nor an installed package's: helpers beside it, the rest of its own package. Installed packages are the environment,
which no extractor's id covers; of Darkroom's own modules only one that is itself the plug-in counts.
"""

import ast
import hashlib
import sys
from collections.abc import Iterator
from functools import cache
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path

from darkroom.domain.files import walk
from darkroom.features.spec import ExtractorSpec

_INSTALLED = {"site-packages", "dist-packages"}
_OURS = __name__.partition(".")[0]


def code_digest(module: str, spec: ExtractorSpec) -> str:
    """ "sha256:..." of the module that makes a plug-in, and of what its spec gives it, wherever either lies."""
    parts = [f"{name}\0{hashlib.sha256(data).hexdigest()}" for name, data in sorted(_modules(module).items())]
    parts += [f"resize\0{spec.resize}", *(f"source\0{line}" for line in _source(spec.source))]
    return f"sha256:{hashlib.sha256(chr(10).join(parts).encode()).hexdigest()}"


@cache
def _modules(first: str) -> dict[str, bytes]:
    """Module's name -> its file's bytes, as this process first saw them: what it has imported stays as it was, too."""
    found: dict[str, bytes] = {}
    waiting = [first]
    while waiting:
        name = waiting.pop()
        if name in found or (name != first and not _is_its_own(name, first)):
            continue
        spec = _spec(name)
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            continue
        found[name] = Path(spec.origin).read_bytes()
        if spec.origin.endswith(".py"):
            waiting += _imports(found[name], name if spec.submodule_search_locations is not None else spec.parent or "")
    return found


def _is_its_own(name: str, first: str) -> bool:
    top = name.partition(".")[0]
    if top == _OURS or top in sys.stdlib_module_names:
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
