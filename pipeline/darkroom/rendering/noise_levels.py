"""Noise levels of diffusers' schedulers: how much of x_0 and of noise a latent has, and what a prediction says of x_0.

Every state is x_t = signal * x_0 + noise * epsilon. What a scheduler keeps of that, and what its model predicts,
depends on its class; `KINDS` says it. Formulas: "Denoising Diffusion Implicit Models" (Song et al. 2021); of v
"Progressive Distillation for Fast Sampling of Diffusion Models" (Salimans and Ho 2022); of sigma "Elucidating the
Design Space of Diffusion-Based Generative Models" (Karras et al. 2022); of flows "Flow Matching for Generative
Modeling" (Lipman et al. 2023). They are for numbers and tensors alike; this module needs no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import sqrt
from typing import Any

_FLOW_PREDICTION = "flow_prediction"
_LEAST_SHARE = 2**-24  # of the signal, in alphas_cumprod, where sigma would be infinite, as diffusers' Euler has it


class Kind(Enum):
    """How a class of schedulers counts noise."""

    TIMESTEPS = "timesteps"  # by alphas_cumprod at the timestep; x_t has unit variance
    SCALED_SIGMAS = "scaled sigmas"  # sigma = noise / signal; x_t has unit variance
    SIGMAS = "sigmas"  # the same, and x_t = x_0 + sigma * epsilon
    FLOW = "flow"  # x_t = (1 - sigma) * x_0 + sigma * epsilon


KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(
        (
            "DDIMScheduler",
            "DDPMScheduler",
            "PNDMScheduler",
            "LCMScheduler",
            "TCDScheduler",
            "CogVideoXDDIMScheduler",
        ),
        Kind.TIMESTEPS,
    ),
    **dict.fromkeys(
        (
            "DPMSolverMultistepScheduler",
            "DPMSolverSinglestepScheduler",
            "UniPCMultistepScheduler",
            "DEISMultistepScheduler",
        ),
        Kind.SCALED_SIGMAS,
    ),
    **dict.fromkeys(
        (
            "EulerDiscreteScheduler",
            "EulerAncestralDiscreteScheduler",
            "LMSDiscreteScheduler",
            "HeunDiscreteScheduler",
            "KDPM2DiscreteScheduler",
            "KDPM2AncestralDiscreteScheduler",
            "DPMSolverSDEScheduler",
        ),
        Kind.SIGMAS,
    ),
    **dict.fromkeys(
        ("FlowMatchEulerDiscreteScheduler", "FlowMatchHeunDiscreteScheduler", "FlowMatchLCMScheduler"),
        Kind.FLOW,
    ),
}
_PREDICTIONS = ("epsilon", "v_prediction", "sample", _FLOW_PREDICTION)


@dataclass(frozen=True)
class Level:
    """Of one state: x_t = scale * (signal * x_0 + noise * epsilon), whose bracket has unit variance but for flows."""

    signal: float
    noise: float
    sigma: float  # as the scheduler counts it
    scale: float = 1.0


def kind_of(scheduler: Any) -> Kind | None:
    """None for a class that is not known here."""
    kind = KINDS.get(type(scheduler).__name__)
    is_flow = scheduler.config.get("use_flow_sigmas") or scheduler.config.get("prediction_type") == _FLOW_PREDICTION
    return Kind.FLOW if kind is Kind.SCALED_SIGMAS and is_flow else kind


def level(scheduler: Any, timestep: Any, index: int | None) -> Level:
    """Of the state that a step begins with. `index`: the place of its sigma; not needed by timesteps."""
    kind = kind_of(scheduler)
    if kind is Kind.TIMESTEPS:
        share = float(scheduler.alphas_cumprod[int(timestep)])
        return Level(sqrt(share), sqrt(1 - share), sqrt((1 - share) / max(share, _LEAST_SHARE)))
    assert index is not None
    sigma = float(scheduler.sigmas[index])
    if kind is Kind.FLOW:
        return Level(1 - sigma, sigma, sigma)
    spread = sqrt(1 + sigma * sigma)
    return Level(1 / spread, sigma / spread, sigma, spread if kind is Kind.SIGMAS else 1.0)


def predicted_x0(scheduler: Any, prediction: Any, sample: Any, at: Level) -> Any:
    """What the model's prediction says of x_0, guidance included. `sample`: x_t as the scheduler keeps it."""
    x_t = sample / at.scale
    match _FLOW_PREDICTION if kind_of(scheduler) is Kind.FLOW else scheduler.config.prediction_type:
        case "epsilon":
            return (x_t - at.noise * prediction) / at.signal
        case "v_prediction":
            return at.signal * x_t - at.noise * prediction
        case "sample":
            return prediction
        case _:
            return x_t - at.sigma * prediction


def why_unknown(config: Mapping[str, Any], class_name: str | None) -> str | None:
    """Why nothing is known of the steps of a scheduler of this class, by its model's scheduler_config.json; None where
    it is."""
    if class_name is None or class_name not in KINDS:
        return f"{class_name} is none of the schedulers whose noise levels are known"
    if class_name == "PNDMScheduler" and not config.get("skip_prk_steps", False):
        return "PNDMScheduler with skip_prk_steps=false has steps of several kinds"
    prediction = config.get("prediction_type", "epsilon")
    if KINDS[class_name] is not Kind.FLOW and prediction not in _PREDICTIONS:
        return f"what {prediction!r} predicts is not known"
    return None
