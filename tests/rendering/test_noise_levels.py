"""Noise levels and predicted x_0 against diffusers' own schedulers, for every name and every kind of prediction."""

import inspect
from copy import deepcopy
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler, FlowMatchEulerDiscreteScheduler

from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.rendering.noise_levels import KINDS, Kind, kind_of, level, predicted_x0, why_unknown
from darkroom.rendering.renderer import Trajectory
from darkroom.rendering.schedulers import SCHEDULERS, build_scheduler
from darkroom.rendering.step_watch import StepWatch

STEPS = 7
SHAPE = (1, 3, 4, 4)  # latents that are pictures themselves
_INSTALLED = [name for name, entry in SCHEDULERS.items() if entry.needs is None or find_spec(entry.needs)]
DIFFUSION = [name for name in _INSTALLED if SCHEDULERS[name].family == "diffusion"]
FLOW = [name for name in _INSTALLED if SCHEDULERS[name].family == "flow"]
_VARIANTS = ("_karras", "_trailing")  # of the same classes
CASES = [
    (name, kind)
    for name in DIFFUSION
    for kind in (("epsilon",) if name.endswith(_VARIANTS) else ("epsilon", "v_prediction", "sample"))
]
CASES += [(name, "flow") for name in FLOW]
# What these classes of diffusers refuse to be given.
NO_SAMPLES = {
    "PNDMScheduler",
    "EulerAncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "DPMSolverSDEScheduler",
}


def built(name: str, prediction: str) -> Any:
    """A new one; some take half a second to be made, so each is made once."""
    return deepcopy(_made(name, prediction))


@cache
def _made(name: str, prediction: str) -> Any:
    if prediction == "flow":
        scheduler = build_scheduler(name, FlowMatchEulerDiscreteScheduler(shift=3.0))
    else:
        of_model = DDPMScheduler(
            prediction_type=prediction, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012,
            clip_sample=False,
        )  # fmt: skip
        scheduler = build_scheduler(name, of_model)
    scheduler.set_timesteps(STEPS)
    return scheduler


def cases() -> list[tuple[str, str]]:
    refused = [(name, "sample") for name in DIFFUSION if SCHEDULERS[name].class_name in NO_SAMPLES]
    return [case for case in CASES if case not in refused]


def true_prediction(prediction: str, x_0: torch.Tensor, epsilon: torch.Tensor, signal: float, noise: float) -> Any:
    """What a model that knew both would say."""
    kinds = {"epsilon": epsilon, "v_prediction": signal * epsilon - noise * x_0, "sample": x_0, "flow": epsilon - x_0}
    return kinds[prediction]


def denoised(scheduler: Any, predict: Any, watch: StepWatch | None = None) -> torch.Tensor:
    """A pipeline's loop, whose model is `predict(x_t, timestep)`."""
    if watch:
        watch.watch(scheduler)
    torch.manual_seed(0)
    sample = torch.randn(SHAPE) * getattr(scheduler, "init_noise_sigma", 1.0)
    for timestep in scheduler.timesteps:
        scaled = scheduler.scale_model_input(sample, timestep) if hasattr(scheduler, "scale_model_input") else sample
        taken = {"generator": torch.Generator().manual_seed(1)} if _takes_generator(scheduler) else {}
        sample = scheduler.step(predict(scaled, timestep), timestep, sample, **taken, return_dict=False)[0]
    return sample


def _takes_generator(scheduler: Any) -> bool:
    return "generator" in inspect.signature(scheduler.step).parameters


def asking(*steps: int) -> ImageRequest:
    return ImageRequest("a", "a circle", 1, Sampling("default", 4.0, STEPS, 8, 8), trajectory=steps)


@pytest.mark.parametrize(("name", "prediction"), cases())
def test_what_a_prediction_says_of_x0_is_what_the_scheduler_takes_from_it(name: str, prediction: str) -> None:
    scheduler = built(name, prediction)
    x_0, epsilon = (torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    timestep = scheduler.timesteps[0]
    index = 0 if hasattr(scheduler, "sigmas") and kind_of(scheduler) is not Kind.TIMESTEPS else None
    at = level(scheduler, timestep, index)
    sample = at.scale * (at.signal * x_0 + at.noise * epsilon)
    if kind_of(scheduler) is Kind.FLOW and hasattr(scheduler, "scale_noise"):
        torch.testing.assert_close(scheduler.scale_noise(x_0, timestep[None], epsilon), sample)
    elif hasattr(scheduler, "add_noise"):
        torch.testing.assert_close(scheduler.add_noise(x_0, epsilon, timestep[None]), sample, rtol=2e-4, atol=2e-3)
    said = true_prediction(prediction, x_0, epsilon, at.signal, at.noise)
    found = predicted_x0(scheduler, said, sample, at)
    torch.testing.assert_close(found, x_0, rtol=1e-3, atol=2e-3)
    if hasattr(scheduler, "convert_model_output") and scheduler.config.get("algorithm_type") != "deis":
        scheduler._init_step_index(timestep)
        torch.testing.assert_close(scheduler.convert_model_output(said, sample=sample), found, rtol=1e-3, atol=2e-3)
    own = getattr(built(name, prediction).step(said, timestep, sample), "pred_original_sample", None)
    if own is not None:
        torch.testing.assert_close(own, found, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize(("name", "prediction"), [case for case in cases() if case[1] in ("epsilon", "flow")])
def test_a_watched_scheduler_gives_what_it_gives_unwatched_and_its_steps_are_counted(
    name: str, prediction: str
) -> None:
    def predict(x_t: torch.Tensor, timestep: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x_t) * 0.7

    plain = denoised(built(name, prediction), predict)
    watch = StepWatch([asking(*range(1, STEPS + 1))])
    watched = denoised(built(name, prediction), predict, watch)
    assert torch.equal(plain, watched)
    [found] = watch.trajectories(watched, lambda latents: latents).values()
    assert isinstance(found, Trajectory)
    assert [step.step for step in found.steps] == [*range(1, STEPS + 1), None]
    sigmas = [step.sigma for step in found.steps]
    assert sigmas == sorted(sigmas, reverse=True)
    assert len(set(sigmas)) == len(sigmas)
    assert found.pixels.shape == (2 * SHAPE[2], (STEPS + 1) * SHAPE[3], 3)


def test_what_is_not_known_is_said() -> None:
    assert set(KINDS) >= {entry.class_name for entry in SCHEDULERS.values()}
    assert why_unknown({}, "DDIMScheduler") is None
    assert "EDMEulerScheduler is none of the" in (why_unknown({}, "EDMEulerScheduler") or "")
    assert "skip_prk_steps=false" in (why_unknown({}, "PNDMScheduler") or "")
    assert "'trigflow'" in (why_unknown({"prediction_type": "trigflow"}, "DDIMScheduler") or "")
