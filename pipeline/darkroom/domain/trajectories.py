"""How a picture forms, step by step: which steps are kept, and what is written down of each."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

NUM_STEPS = 6  # that are kept where nothing is said, beside the finished image
MOST_STEPS = 16
SIDE = 192  # pixels of a kept picture, at most


@dataclass(frozen=True)
class TrajectoryStep:
    """The state before one denoising step, x_t = signal * x_0 + noise * epsilon; or the finished image.

    Schedulers that count noise upwards from an unscaled image have x_t / sqrt(1 + sigma^2) here: of unit variance.
    """

    step: int | None  # from 1; None: after the last, the finished image
    timestep: float | None  # as the model is told it
    sigma: float  # as the scheduler's class counts it: noise / signal, and of flow matching the share of noise
    signal: float
    noise: float


FINISHED = TrajectoryStep(None, None, 0.0, 1.0, 0.0)


def spread_steps(num_inference_steps: int) -> tuple[int, ...]:
    """NUM_STEPS of them, from the first to the last, as evenly as whole numbers go; all where there are no more."""
    if num_inference_steps <= NUM_STEPS:
        return tuple(range(1, num_inference_steps + 1))
    share = (num_inference_steps - 1) / (NUM_STEPS - 1)
    return tuple(1 + round(place * share) for place in range(NUM_STEPS))


def steps_text(steps: Sequence[TrajectoryStep]) -> str:
    """As records hold them: JSON, a list in the order of the strip's columns."""
    return json.dumps([asdict(step) for step in steps])


def parse_steps(text: str) -> tuple[TrajectoryStep, ...]:
    """Raises ValueError, TypeError or KeyError for what `steps_text` has not made."""
    return tuple(TrajectoryStep(**each) for each in json.loads(text))
