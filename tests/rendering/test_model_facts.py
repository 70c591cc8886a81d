"""Signatures that are read from source are those of the imported pipelines."""

import inspect

import diffusers
import pytest

from darkroom.rendering.families import FAMILIES
from darkroom.rendering.model_facts import read_parameters

# Of a class whose packages are not installed, diffusers has a dummy that takes anything.
CLASSES = [name for name in FAMILIES if "dummy" not in getattr(diffusers, name).__module__]


def as_read(parameter: inspect.Parameter) -> tuple[str, object, bool]:
    default = parameter.default
    literal = default if isinstance(default, int | float | str) else None
    return parameter.name, literal, default is parameter.empty


@pytest.mark.parametrize("name", CLASSES)
def test_parameters_and_defaults_are_those_of_the_class(name: str) -> None:
    imported = inspect.signature(getattr(diffusers, name).__call__).parameters
    found = read_parameters(name)
    assert found is not None
    assert [as_read(each) for each in found.values()] == [as_read(each) for each in imported.values()]


def test_a_class_that_diffusers_has_not_is_none() -> None:
    assert read_parameters("NobodysPipeline") is None
