"""The states that a call's denoising goes through, seen where every pipeline hands them on: in its scheduler's `step`.

A scheduler is watched in one call alone, and gives what it gives unwatched. Latents are kept, and decoded once the
picture is finished, in the batch shape of the call, so that no strip depends on another image.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from darkroom.domain.records import ImageRequest
from darkroom.domain.trajectories import FINISHED, SIDE, TrajectoryStep, spread_steps
from darkroom.rendering.noise_levels import level, predicted_x0
from darkroom.rendering.pipeline_calls import to_pixels
from darkroom.rendering.renderer import Trajectory

_OWN_X0 = ("pred_original_sample", "denoised")  # by what names a scheduler says it
Decode = Callable[[torch.Tensor], torch.Tensor]  # latents of a full batch to (N, 3, H, W) float32 in [-1, 1]


@dataclass(frozen=True)
class _State:
    """One step of a call: latents of all of its images."""

    about: TrajectoryStep
    x_t: torch.Tensor
    x_0: torch.Tensor


class StepWatch:
    """Of one call, in which some requests want a trajectory."""

    def __init__(self, requests: Sequence[ImageRequest]) -> None:
        num_steps = requests[0].sampling.num_inference_steps
        asked = {place: request.trajectory for place, request in enumerate(requests) if request.trajectory is not None}
        self._steps = {place: steps or spread_steps(num_steps) for place, steps in asked.items()}
        self._wanted = {step for steps in self._steps.values() for step in steps}
        self._states: dict[int, _State] = {}  # by step
        self._num_calls = 0

    @property
    def is_asked(self) -> bool:
        return bool(self._steps)

    def watch(self, scheduler: Any) -> None:
        """From now on, where a trajectory is wanted; its steps are counted on from another one, as of a refiner."""
        if not self._steps:
            return
        plain, parameters = scheduler.step, inspect.signature(scheduler.step)

        @wraps(plain)
        def step(*args: Any, **kwargs: Any) -> Any:
            number = _step_number(scheduler, self._num_calls)
            self._num_calls += 1
            if number is None or number not in self._wanted:
                return plain(*args, **kwargs)
            bound = parameters.bind(*args, **kwargs)
            is_dict, x_t = bound.arguments.get("return_dict", True), bound.arguments["sample"].clone()
            bound.arguments["return_dict"] = True
            output = plain(*bound.args, **bound.kwargs)
            self._states[number] = _state(scheduler, number, x_t, bound.arguments, output)
            return output if is_dict else output.to_tuple()

        scheduler.step = step

    def trajectories(self, images: torch.Tensor, decode: Decode) -> dict[int, Trajectory]:
        """Place of a request -> its trajectory. `images`: the call's, (N, 3, H, W) float32 in [-1, 1]."""
        places = [(place, step) for place, steps in self._steps.items() for step in steps]
        latents = [getattr(self._states[step], name)[place] for place, step in places for name in ("x_t", "x_0")]
        size = _fitted_size(images.shape[2], images.shape[3])
        pictures = [_picture(each, size) for each in _decoded(latents, decode, len(images))]
        finished = {place: _picture(images[place], size) for place in self._steps}
        found, start = {}, 0
        for place, steps in self._steps.items():
            own = pictures[start : start + 2 * len(steps)]
            start += len(own)
            rows = [[*own[row::2], finished[place]] for row in (0, 1)]
            strip = np.concatenate([np.concatenate(row, axis=1) for row in rows])
            found[place] = Trajectory(strip, (*(self._states[step].about for step in steps), FINISHED))
        return found


def _step_number(scheduler: Any, num_calls: int) -> int | None:
    """Which step of `num_inference_steps`, from 1, the scheduler is called for after so many calls; None: a further
    evaluation of one. Second-order schedulers take two each, and PNDM two for its first."""
    if type(scheduler).__name__ == "PNDMScheduler":
        return None if num_calls == 1 else max(1, num_calls)
    step, is_further = divmod(num_calls, scheduler.order)
    return None if is_further else step + 1


def _state(scheduler: Any, step: int, x_t: torch.Tensor, given: Mapping[str, Any], output: Any) -> _State:
    """`output`: what the scheduler's step gave, which has moved its index on by one."""
    index = getattr(scheduler, "step_index", None)
    at = level(scheduler, given["timestep"], None if index is None else index - 1)
    own = next((found for name in _OWN_X0 if (found := getattr(output, name, None)) is not None), None)
    x_0 = predicted_x0(scheduler, given["model_output"].float(), x_t.float(), at) if own is None else own
    about = TrajectoryStep(step, float(given["timestep"]), at.sigma, at.signal, at.noise)
    return _State(about, x_t.float() / at.scale, x_0.float())


def _decoded(latents: Sequence[torch.Tensor], decode: Decode, batch_size: int) -> Iterator[torch.Tensor]:
    """A (3, H, W) float32 picture of each, in batches of one shape, with one of them in memory."""
    for start in range(0, len(latents), batch_size):
        group = [*latents[start : start + batch_size]]
        padded = torch.stack(group + group[-1:] * (batch_size - len(group)))
        yield from decode(padded)[: len(group)]


def _fitted_size(height: int, width: int) -> tuple[int, int]:
    """(height, width) in a square of SIDE pixels, never enlarged."""
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _picture(decoded: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """(height, width, 3) uint8 of (3, H, W) in [-1, 1]; what is no number, as far from a picture, is grey."""
    pixels = to_pixels(decoded[None].nan_to_num(0.0, 1.0, -1.0))[0].cpu().numpy()
    if pixels.shape[:2] == size:
        return pixels
    return np.asarray(ImageOps.fit(Image.fromarray(pixels), size[::-1], Image.Resampling.LANCZOS))
