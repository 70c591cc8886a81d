"""What is known of pipelines that make videos, of tiny models of each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.rendering.inspected_model import call_default, check_num_frames, check_size, size_unit
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec, load_renderer

Folder = Callable[[str], Path]


@pytest.mark.parametrize(
    ("name", "unit", "num_frames", "fps", "size_of_unit"),
    [("wan", 4, 81, 16, 16), ("ltx", 8, 161, 25, 32), ("cogvideox", 4, 9, 8, 16), ("hunyuan_video", 4, 129, 24, 16)],
)
def test_frames_and_sizes_that_would_be_rounded_are_refused(
    tiny_model: Folder, name: str, unit: int, num_frames: int, fps: int, size_of_unit: int
) -> None:
    model = inspect_model(ModelRef(str(tiny_model(name))), "cpu")
    assert (call_default(model, "num_frames"), call_default(model, "fps")) == (num_frames, fps)
    assert size_unit(model) == size_of_unit
    check_num_frames(2 * unit + 1, model)
    with pytest.raises(
        DarkroomError, match=rf"num_frames={2 * unit}: .* give num_frames={unit + 1} or {2 * unit + 1}$"
    ):
        check_num_frames(2 * unit, model)
    with pytest.raises(DarkroomError, match=f"makes multiples of {size_of_unit} alone"):
        check_size((size_of_unit + 8, 2 * size_of_unit), model)


@pytest.mark.slow
def test_ltx_is_told_the_frames_a_second(tiny_model: Folder) -> None:
    renderer = load_renderer(RendererSpec(inspect_model(ModelRef(str(tiny_model("ltx"))), "cpu"), "cpu", 2))
    sampling = (Sampling("default", 3.0, 2, 32, 32, num_frames=9, fps=fps) for fps in (8, 25))
    found = [renderer.render([ImageRequest("a", "a red circle", 1, each)])[0].pixels for each in sampling]
    assert all(each is not None and each.shape == (9, 32, 32, 3) for each in found)
    assert not np.array_equal(*found)
