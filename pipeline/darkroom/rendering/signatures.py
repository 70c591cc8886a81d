"""The signature of a diffusers pipeline's call, read from its source: to import the pipeline takes seconds."""

import ast
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_CALL = "__call__"


@cache
def pipelines_folder() -> Path:
    """Of the installed diffusers, which is not imported."""
    spec = find_spec("diffusers")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "pipelines"


@cache
def exported_names() -> frozenset[str]:
    """Of the installed diffusers, those that lack a package included; all are strings in the file of its imports."""
    return frozenset(re.findall(r'"(\w+)"', (pipelines_folder().parent / "__init__.py").read_text("utf-8")))


def read_parameters(class_name: str) -> Mapping[str, inspect.Parameter] | None:
    """Parameters of the call of the pipeline of this name; a default that is no literal is None.

    None where diffusers has no file that defines the class with a call of its own.
    """
    for path in sorted(pipelines_folder().glob("*/pipeline_*.py")):
        source = path.read_text("utf-8")
        if f"class {class_name}(" in source and (call := _call_of(class_name, ast.parse(source))):
            return {parameter.name: parameter for parameter in _parameters(call.args)}
    return None


def _call_of(class_name: str, module: ast.Module) -> ast.FunctionDef | None:
    classes = (node for node in module.body if isinstance(node, ast.ClassDef) and node.name == class_name)
    bodies = (node for found in classes for node in found.body)
    return next((node for node in bodies if isinstance(node, ast.FunctionDef) and node.name == _CALL), None)


def _parameters(found: ast.arguments) -> Iterator[inspect.Parameter]:
    kinds = inspect.Parameter
    named = [*found.posonlyargs, *found.args]
    missing = [None] * (len(named) - len(found.defaults))
    for argument, default in zip(named, [*missing, *found.defaults], strict=True):
        yield kinds(argument.arg, kinds.POSITIONAL_OR_KEYWORD, default=_default(default))
    if found.vararg:
        yield kinds(found.vararg.arg, kinds.VAR_POSITIONAL)
    for argument, default in zip(found.kwonlyargs, found.kw_defaults, strict=True):
        yield kinds(argument.arg, kinds.KEYWORD_ONLY, default=_default(default))
    if found.kwarg:
        yield kinds(found.kwarg.arg, kinds.VAR_KEYWORD)


def _default(value: ast.expr | None) -> Any:
    if value is None:
        return inspect.Parameter.empty
    try:
        return ast.literal_eval(value)
    except ValueError:
        return None
