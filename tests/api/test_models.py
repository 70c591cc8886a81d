"""Models of a run, found again: what a missing package hinders is said without places that would not help."""

import pytest

from darkroom.api import models
from darkroom.api.options import ModelPlace
from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.domain.settings import ModelRef
from darkroom.runs.cells import CellInfo
from tests.engine.helpers import CELL


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (MissingPackage("it needs the package torchao; install it"), "it needs the package torchao; install it"),
        (DarkroomError("no such folder"), "no such folder; or give the model's place, or the folder that holds all"),
    ],
)
def test_a_remedy_is_given_where_it_helps(monkeypatch: pytest.MonkeyPatch, error: DarkroomError, said: str) -> None:
    def find(*_: object) -> None:
        raise error

    monkeypatch.setattr(models, "find_model", find)
    with pytest.raises(DarkroomError) as caught:
        models.models_of([CellInfo(ModelRef("a/model"), CELL)], ModelPlace(), "cpu")
    assert str(caught.value).startswith(said)
    assert len(str(caught.value)) == len(said) or not isinstance(error, MissingPackage)
