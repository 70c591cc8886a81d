"""The thread that renders, and the one model that it holds."""

import threading
import time
import weakref
from dataclasses import replace

import pytest

from darkroom.domain.identity import ModelIdentity
from darkroom.domain.records import ImageRequest, PromptRow, Sample
from darkroom.engine.device import Device, LoadedModel, Stopped
from darkroom.rendering.renderer import PaintRenderer
from tests.engine.helpers import CELL, SAMPLING
from tests.processes import wait_for


class Cyclic:
    """Refers to itself, as models do whose layers are wrapped."""

    def __init__(self) -> None:
        self.itself = self


@pytest.mark.slow
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


@pytest.mark.slow
def test_who_waits_for_a_device_that_is_closed_does_not_wait_for_ever() -> None:
    """Else a program that was interrupted could not end: its threads are waited for."""
    renderer, end_of_call, ended = PaintRenderer(1), threading.Event(), threading.Event()
    device = Device(lambda _: renderer)
    device.submit(end_of_call.wait)
    sample = Sample(PromptRow(0, "id", "a cat"), 0, ImageRequest("image", "a cat", 0, SAMPLING))

    def render() -> None:
        with pytest.raises(Stopped):
            device.render(renderer, [sample], time.time())
        ended.set()

    threading.Thread(target=render, daemon=True).start()
    wait_for(lambda: device._thread._work_queue.qsize() == 1)
    device.close()
    assert ended.wait(60)
    end_of_call.set()
