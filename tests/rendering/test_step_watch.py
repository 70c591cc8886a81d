"""Trajectories of tiny models: beside the same pixels, alike whatever else is in the batch, and true at their end."""

from dataclasses import replace

import numpy as np
import pytest

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.domain.trajectories import FINISHED, NUM_STEPS, spread_steps
from darkroom.domain.trajectories import SIDE as EDGE
from darkroom.rendering.renderer import RenderedImage, Renderer
from tests.rendering.helpers import Models, load

SIDE = 16
EULER = Sampling("euler", 4.0, 5, SIDE, SIDE)


def request(number: int, sampling: Sampling = EULER, trajectory: tuple[int, ...] | None = None) -> ImageRequest:
    return ImageRequest(f"{number:02}", f"a red circle {number}", 100 + number, sampling, trajectory=trajectory)


def pictures(image: RenderedImage) -> np.ndarray:
    """(2, columns, height, width, 3)."""
    assert image.trajectory
    strip, columns = image.trajectory.pixels, len(image.trajectory.steps)
    return strip.reshape(2, SIDE, columns, SIDE, 3).transpose(0, 2, 1, 3, 4)


@pytest.mark.parametrize("name", ["sd", "sdxl"])
def test_a_trajectory_is_beside_the_same_pixels_and_depends_on_no_neighbour(models: Models, name: str) -> None:
    renderer = load(models, name)
    plain = renderer.render([request(number) for number in range(3)])
    among = renderer.render([request(0), request(1, trajectory=(1, 3, 5)), request(2, trajectory=())])
    [alone] = renderer.render([request(1, trajectory=(1, 3, 5))])
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(plain, among, strict=True))
    assert [image.trajectory for image in plain] == [None] * 3
    assert among[0].trajectory is None
    found = among[1].trajectory
    assert found
    assert alone.trajectory
    assert np.array_equal(found.pixels, alone.trajectory.pixels)
    assert [step.step for step in found.steps] == [1, 3, 5, None]
    assert found.steps[-1] == FINISHED
    assert among[2].trajectory
    assert [step.step for step in among[2].trajectory.steps] == [1, 2, 3, 4, 5, None]


@pytest.fixture(scope="module")
def alone(models: Models) -> Renderer:
    """Of one image a batch."""
    return load(models, "sd", 1)


@pytest.mark.parametrize("scheduler", ["euler", "ddim", "dpmpp_2m", "heun", "unipc", "pndm", "lcm"])
def test_the_end_is_the_image_and_the_last_prediction_is_near_it(alone: Renderer, scheduler: str) -> None:
    sampling = replace(EULER, scheduler=scheduler)
    [image] = alone.render([request(0, sampling, (1, 5))])
    found = pictures(image)
    assert image.pixels is not None
    assert np.array_equal(found[0, -1], image.pixels)
    assert np.array_equal(found[1, -1], image.pixels)
    difference = np.abs(found[1, 1].astype(int) - image.pixels)
    ends_there = scheduler in ("euler", "heun", "lcm", "dpmpp_2m")  # where its last step predicts, but for rounding
    assert difference.max() <= (1 if ends_there else 4)
    assert np.abs(found[1, 0].astype(int) - image.pixels).mean() > difference.mean()


def test_cached_steps_have_trajectories_of_what_they_gave(alone: Renderer) -> None:
    sampling = replace(EULER, cache_interval=2)
    plain, wanted = (alone.render([request(0, sampling, asked)])[0] for asked in (None, (2, 4)))
    assert np.array_equal(plain.pixels, wanted.pixels)
    assert len(pictures(wanted)[0]) == 3


def test_large_pictures_are_kept_small_and_in_their_proportions(alone: Renderer) -> None:
    [image] = alone.render([request(0, replace(EULER, num_inference_steps=1, height=208, width=104), ())])
    assert image.trajectory
    assert image.trajectory.pixels.shape == (2 * EDGE, 2 * EDGE // 2, 3)
    assert len(image.trajectory.steps) == 2


def test_steps_are_spread_from_the_first_to_the_last() -> None:
    assert spread_steps(1) == (1,)
    assert spread_steps(4) == (1, 2, 3, 4)
    assert spread_steps(20) == (1, 5, 9, 12, 16, 20)
    for count in range(1, 60):
        steps = spread_steps(count)
        assert (steps[0], steps[-1], len(set(steps))) == (1, count, min(count, NUM_STEPS))
