"""Schedulers by their usual names: which diffusers class each is, with which options, and which models it fits."""

import importlib.util
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError, MissingPackage
from darkroom.rendering.family import Family
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.model_facts import config_of
from darkroom.rendering.noise_levels import why_unknown

# Schedulers whose steps are some of those that a model was distilled with, or of the timesteps of its training, by
# these names and defaults in their configurations; others take any number.
_AMONG_CHOSEN, _ORIGINAL_STEPS = ("LCMScheduler", "TCDScheduler"), 50
_AMONG_TRAINING, _NUM_TRAIN_TIMESTEPS = ("DDIMScheduler", "DDPMScheduler", "SCMScheduler"), 1000
_WITH_ETA = ("DDIMScheduler", "TCDScheduler")  # whose steps add as much noise as `eta` says
DEFAULT = "default"  # the scheduler that the model comes with
_DIFFUSION, _FLOW = "diffusion", "flow"


@dataclass(frozen=True)
class SchedulerEntry:
    """One name of the table."""

    class_name: str  # in diffusers
    family: str = _DIFFUSION  # models that predict noise or its velocity (diffusion), or flow-matching ones (flow)
    options: Mapping[str, Any] = field(default_factory=dict)
    needs: str | None = None  # an optional package
    takes_sigmas: bool = True  # a pipeline may give it noise levels of its own
    takes_generator: bool = True  # and a generator with each step
    of_all_timesteps: bool = False  # its steps are chosen among all timesteps of training


_MULTISTEP, _SINGLESTEP = "DPMSolverMultistepScheduler", "DPMSolverSinglestepScheduler"
_WITHOUT_KARRAS = {
    "ddim": SchedulerEntry("DDIMScheduler"),
    "ddpm": SchedulerEntry("DDPMScheduler"),
    "pndm": SchedulerEntry("PNDMScheduler", options={"skip_prk_steps": True}, takes_generator=False),
    "lcm": SchedulerEntry("LCMScheduler"),
    "lcm_trailing": SchedulerEntry("LCMScheduler", of_all_timesteps=True),
    "tcd": SchedulerEntry("TCDScheduler"),
    "euler_a": SchedulerEntry("EulerAncestralDiscreteScheduler"),
    "flow_euler": SchedulerEntry("FlowMatchEulerDiscreteScheduler", _FLOW),
    "flow_heun": SchedulerEntry("FlowMatchHeunDiscreteScheduler", _FLOW, takes_sigmas=False),
    "flow_lcm": SchedulerEntry("FlowMatchLCMScheduler", _FLOW),
    "flow_unipc": SchedulerEntry(
        "UniPCMultistepScheduler",
        _FLOW,
        {"use_flow_sigmas": True, "prediction_type": "flow_prediction"},
        takes_generator=False,
    ),
}
_WITH_KARRAS = {  # each also by its name with _karras: noise levels of Karras et al. 2022
    "lms": SchedulerEntry("LMSDiscreteScheduler", needs="scipy"),
    "euler": SchedulerEntry("EulerDiscreteScheduler"),
    "heun": SchedulerEntry("HeunDiscreteScheduler", takes_generator=False),
    "dpm2": SchedulerEntry("KDPM2DiscreteScheduler", takes_generator=False),
    "dpm2_a": SchedulerEntry("KDPM2AncestralDiscreteScheduler"),
    "dpmpp_2m": SchedulerEntry(_MULTISTEP, options={"algorithm_type": "dpmsolver++"}),
    "dpmpp_2m_sde": SchedulerEntry(_MULTISTEP, options={"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp_2s": SchedulerEntry(_SINGLESTEP, options={"algorithm_type": "dpmsolver++"}),
    "dpmpp_sde": SchedulerEntry("DPMSolverSDEScheduler", needs="torchsde"),
    "unipc": SchedulerEntry("UniPCMultistepScheduler", takes_generator=False),
    "deis": SchedulerEntry("DEISMultistepScheduler", takes_generator=False),
}
_WITH_TRAILING = ("ddim", "ddpm", "euler", "euler_a", "dpmpp_2m", "dpmpp_2m_sde", "unipc", "deis")
SCHEDULERS: Mapping[str, SchedulerEntry] = {
    **_WITHOUT_KARRAS,
    **_WITH_KARRAS,
    # Timesteps that end where training's do: "Common Diffusion Noise Schedules and Sample Steps are Flawed" (Lin 2023).
    **{
        f"{name}_trailing": replace(entry, options={**entry.options, "timestep_spacing": "trailing"})
        for name, entry in {**_WITHOUT_KARRAS, **_WITH_KARRAS}.items()
        if name in _WITH_TRAILING
    },
    **{
        f"{name}_karras": replace(entry, options={**entry.options, "use_karras_sigmas": True})
        for name, entry in _WITH_KARRAS.items()
    },
}


def compatible_schedulers(model: InspectedModel) -> list[str]:
    """Names that the model can be used with."""
    if model.family.fixed_scheduler:
        return [DEFAULT]
    family = _FLOW if model.is_flow else _DIFFUSION
    return [
        DEFAULT,
        *sorted(name for name, entry in SCHEDULERS.items() if entry.family == family and _fits(name, model.family)),
    ]


def _fits(name: str, facts: Family) -> bool:
    entry = SCHEDULERS[name]
    takes_all = entry.takes_sigmas >= facts.passes_sigmas and entry.takes_generator >= facts.passes_generator
    return takes_all and name not in facts.unfit_schedulers


def check_scheduler(name: str, model: InspectedModel, said: str = "sampling.scheduler") -> None:
    """Refuse a scheduler that does not exist, does not fit the model, or needs a package that is not installed.

    `said`: what asks for it, in the message.
    """
    names = compatible_schedulers(model)
    if name not in names:
        known = f"does not fit {model.identity.repo_id}" if name in SCHEDULERS else "is not known"
        raise DarkroomError(f"{said}={name} {known}; those that fit are {', '.join(names)}")
    needs = SCHEDULERS[name].needs if name != DEFAULT else None
    if needs and importlib.util.find_spec(needs) is None:
        raise MissingPackage(f"{said}={name} needs the package {needs}; run `pip install {needs}`")


def check_steps(name: str, steps: int, model: InspectedModel, said: str) -> None:
    """Refuse more steps than a scheduler can take; `said`: what asks for them, in the message."""
    most = _most_steps(name, config_of(Path(model.folder) / "scheduler")) if model.folder else None
    if most is not None and steps > most:
        what = "the model's own scheduler" if name == DEFAULT else f"sampling.scheduler={name}"
        raise DarkroomError(
            f"{said}={steps}: {what} takes {most} steps of {model.identity.repo_id} at most; give {most} or less, or "
            "another scheduler"
        )


def why_no_levels(name: str, model: InspectedModel) -> str | None:
    """Why it is not known how much noise a state of this scheduler has; None where it is."""
    config = config_of(Path(model.folder) / "scheduler") if model.folder else {}
    options = SCHEDULERS[name].options if name in SCHEDULERS else {}
    return why_unknown({**config, **options}, _class_name(name, config))


def takes_eta(name: str, model: InspectedModel) -> bool:
    """Whether `eta` does something with this scheduler."""
    config = config_of(Path(model.folder) / "scheduler") if model.folder else {}
    return _class_name(name, config) in _WITH_ETA


def check_eta(name: str, eta: float, model: InspectedModel, said: str) -> None:
    """Refuse noise that the scheduler's steps do not take; `said`: what asks for it, in the message."""
    if eta and model.folder and not takes_eta(name, model):
        names = [each for each in compatible_schedulers(model) if each != DEFAULT and takes_eta(each, model)]
        give = f"leave it out, or give {' or '.join(names)} as sampling.scheduler" if names else "leave it out"
        what = "the model's own scheduler" if name == DEFAULT else f"sampling.scheduler={name}"
        raise DarkroomError(f"{said}={eta:g}: {what} takes no eta; {give}")


def _class_name(name: str, config: Mapping[str, Any]) -> str | None:
    if name == DEFAULT:
        return config.get("_class_name")
    return SCHEDULERS[name].class_name if name in SCHEDULERS else None


def _most_steps(name: str, config: Mapping[str, Any]) -> int | None:
    """By the model's scheduler_config.json; None: any number."""
    class_name = _class_name(name, config)
    training = int(config.get("num_train_timesteps", _NUM_TRAIN_TIMESTEPS))
    if class_name in _AMONG_CHOSEN:
        is_of_all = name != DEFAULT and SCHEDULERS[name].of_all_timesteps
        return training if is_of_all else int(config.get("original_inference_steps", _ORIGINAL_STEPS))
    return training if class_name in _AMONG_TRAINING else None


def build_scheduler(name: str, model_scheduler: Any) -> Any:
    """A new scheduler of this name with the noise schedule and prediction type of the model's scheduler."""
    import diffusers

    if name == DEFAULT:
        return type(model_scheduler).from_config(model_scheduler.config)
    entry = SCHEDULERS[name]
    config = model_scheduler.config
    options = {**_shift(config), **entry.options} if entry.family == _FLOW else dict(entry.options)
    if entry.of_all_timesteps:
        options["original_inference_steps"] = config.num_train_timesteps
    return getattr(diffusers, entry.class_name).from_config(config, **options)


def scheduler_facts(scheduler: Any) -> str:
    """What a scheduler is, as JSON: its class as `_class_name`, and its options as they were loaded."""
    options = {name: value for name, value in scheduler.config.items() if not name.startswith("_")}
    facts = {"_class_name": type(scheduler).__name__, **options}
    return json.dumps(facts, sort_keys=True, ensure_ascii=False, default=_as_json)


def _as_json(value: Any) -> Any:
    """Arrays, such as trained betas, as lists."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def _shift(config: Mapping[str, Any]) -> dict[str, float]:
    """The shift of a flow's noise levels by both names that schedulers have for it: each takes its own."""
    shift = config.get("shift", config.get("flow_shift"))
    return {} if shift is None else {"shift": shift, "flow_shift": shift}
