"""The table of schedulers: what each name builds, and which models it fits."""

import inspect
import json

import diffusers
import pytest
from diffusers import DDIMScheduler

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.schedulers import (
    SCHEDULERS,
    build_scheduler,
    check_eta,
    check_scheduler,
    compatible_schedulers,
    scheduler_facts,
    takes_eta,
)
from tests.rendering.helpers import Models


@pytest.mark.slow
def test_every_scheduler_is_one_of_diffusers_and_keeps_the_noise_schedule(models: Models) -> None:
    of_model = DDIMScheduler.from_pretrained(models["sd"] / "scheduler")
    for name, entry in SCHEDULERS.items():
        if entry.needs is None and entry.family == "diffusion":
            built = build_scheduler(name, of_model)
            assert type(built).__name__ == entry.class_name
            assert (built.config.beta_end, built.config.prediction_type) == (of_model.config.beta_end, "v_prediction")


def test_a_scheduler_is_called_by_its_class_with_all_options_as_loaded(models: Models) -> None:
    of_model = DDIMScheduler.from_pretrained(models["sd"] / "scheduler")
    facts = json.loads(scheduler_facts(build_scheduler("default", of_model)))
    assert facts.pop("_class_name") == "DDIMScheduler"
    assert facts == {name: value for name, value in of_model.config.items() if not name.startswith("_")}
    assert facts["beta_schedule"]
    trailing = json.loads(scheduler_facts(build_scheduler("euler_trailing", of_model)))
    assert (trailing["_class_name"], trailing["timestep_spacing"]) == ("EulerDiscreteScheduler", "trailing")


def test_a_scheduler_that_does_not_fit_is_refused_with_those_that_do(models: Models) -> None:
    sd, sd3 = (inspect_model(ModelRef(str(models[name])), "cpu") for name in ("sd", "sd3"))
    with pytest.raises(DarkroomError, match=r"does not fit.*euler_a"):
        check_scheduler("flow_euler", sd)
    with pytest.raises(DarkroomError, match=r"does not fit.*flow_heun"):
        check_scheduler("ddim", sd3)
    with pytest.raises(DarkroomError, match="is not known"):
        check_scheduler("quick", sd)
    assert {"default", "flow_euler", "flow_heun", "flow_lcm", "flow_unipc"} == set(compatible_schedulers(sd3))


@pytest.mark.slow
def test_which_steps_take_a_generator_is_what_diffusers_says() -> None:
    for name, entry in SCHEDULERS.items():
        if entry.needs is None:
            takes = "generator" in inspect.signature(getattr(diffusers, entry.class_name).step).parameters
            assert takes is entry.takes_generator, name


@pytest.mark.slow
def test_which_steps_take_eta_is_what_diffusers_says(models: Models) -> None:
    sd = inspect_model(ModelRef(str(models["sd"])), "cpu")
    for name, entry in SCHEDULERS.items():
        if entry.needs is None:
            parameters = inspect.signature(getattr(diffusers, entry.class_name).step).parameters
            assert takes_eta(name, sd) is ("eta" in parameters), name
    with pytest.raises(DarkroomError, match=r"sampling\.eta=0\.3: sampling\.scheduler=euler takes no eta; .* ddim or"):
        check_eta("euler", 0.3, sd, "sampling.eta")
    for name, eta in (("euler", 0.0), ("default", 0.3), ("tcd", 1.0)):
        check_eta(name, eta, sd, "sampling.eta")
