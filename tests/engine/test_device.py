"""The one model that a worker holds."""

import weakref
from dataclasses import replace

from darkroom.domain.cells import ModelIdentity
from darkroom.engine.device import LoadedModel
from tests.engine.helpers import CELL


class Cyclic:
    """Refers to itself, as models do whose layers are wrapped."""

    def __init__(self) -> None:
        self.itself = self


def test_a_model_is_gone_before_the_next_one_is_loaded() -> None:
    held: list[weakref.ref] = []

    def load(_: ModelIdentity) -> Cyclic:
        assert not held or held[-1]() is None, "two models at once do not fit"
        made = Cyclic()
        held.append(weakref.ref(made))
        return made

    model = LoadedModel(load)
    for revision in ("a", "a", "b", "a"):
        model.get(replace(CELL.model, revision=revision))
    assert model.num_loads == len(held) == 3
