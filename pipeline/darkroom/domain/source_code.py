"""The source code that a function of somebody's own stands on: found by its name, imported, and digested.

A name is `my_package.my_module:make`. Its code is that of its module and of all that this imports, directly or not,
from files that are neither Python's own nor an installed package's: helpers beside it, the rest of its own package.
Installed packages are the environment, which no digest here covers; of Darkroom's modules only one that is itself
named counts. Importing runs the module's code, so nothing but the user's own command may name one.
"""

import ast
import hashlib
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec
from importlib.util import find_spec, resolve_name
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line

DARKROOM = __name__.partition(".")[0]
_INSTALLED = {"site-packages", "dist-packages"}
_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*")


def is_function_name(text: str) -> bool:
    """Whether a text is as `my_package.my_module:make`."""
    return bool(_NAME.fullmatch(text))


def imported_function(name: str, label: str) -> Callable[..., Any]:
    """The function of this name; `label`: what errors say before it, such as "extractor ". Raises DarkroomError."""
    module, _, function = name.partition(":")
    try:
        found = getattr(import_module(module), function)
    except Exception as error:  # a module raises what it likes while it is imported
        reason = first_line(error)
        if not isinstance(error, ImportError | AttributeError | ValueError):
            reason = f"{type(error).__name__}: {reason}"
        raise DarkroomError(
            f"{label}{name}: cannot be imported ({reason}); install its package, or put its folder on PYTHONPATH"
        ) from None
    if not callable(found):
        raise DarkroomError(f"{label}{name}: {function} is a {type(found).__name__}; name a function")
    return found  # type: ignore[no-any-return]


def module_lines(module: str) -> list[str]:
    """A line for each file of a module's code, with its digest, wherever it lies."""
    return [f"{name}\0{hashlib.sha256(data).hexdigest()}" for name, data in sorted(modules_of(module).items())]


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
    if top == DARKROOM or top in sys.stdlib_module_names:
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
