"""Which steps a refiner makes: those whose timesteps are below a share of training's, as diffusers divides them."""

from pathlib import Path
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import Sampling
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.loading import loads_models
from darkroom.rendering.model_facts import config_of
from darkroom.rendering.schedulers import build_scheduler

START = 0.8  # where a model has a refiner and nothing is said, as the card of SDXL's has it


def is_refined(sampling: Sampling) -> bool:
    return sampling.refiner_start is not None and sampling.refiner_start < 1


def _fault_of_steps(sampling: Sampling, scheduler: Any) -> str | None:
    """Why these steps cannot be divided between two models: one of them would have none. `scheduler`: of the call."""
    if not is_refined(sampling):
        return None
    assert sampling.refiner_start is not None
    training = scheduler.config.num_train_timesteps
    cutoff = round(training - sampling.refiner_start * training)
    scheduler.set_timesteps(sampling.num_inference_steps)
    num_refined = int((scheduler.timesteps < cutoff).sum())
    if 0 < num_refined < len(scheduler.timesteps):
        return None
    whom = "refiner" if num_refined == 0 else "model before it"
    return (
        f"refiner_start={sampling.refiner_start:g} leaves no step of {sampling.num_inference_steps} to the {whom}; "
        "give more steps, another start, or 1 to go without the refiner"
    )


def check_refined(sampling: Sampling, model: InspectedModel, source: str = "sampling.") -> None:
    """Raises DarkroomError for settings that no refiner goes with, or that leave one of two models without a step.

    `source`: what comes before a setting's name in the message.
    """
    if model.identity.refiner is None:
        if sampling.refiner_start is not None:
            raise DarkroomError(
                f"{source}refiner_start={sampling.refiner_start:g}: {model.identity.repo_id} has no refiner; leave it "
                "out, or give model.refiner"
            )
        return
    if sampling.is_partly_guided and is_refined(sampling):
        raise DarkroomError(
            f"{source}guidance_start and guidance_stop are shares of one model's steps; leave them out, or the refiner"
        )
    fault = _fault_of_steps(sampling, _scheduler_of(sampling.scheduler, model))
    if fault:
        raise DarkroomError(f"{source}{fault}")


@loads_models
def _scheduler_of(name: str, model: InspectedModel) -> Any:
    import diffusers

    assert model.folder
    config = config_of(Path(model.folder) / "scheduler")
    return build_scheduler(name, getattr(diffusers, config["_class_name"]).from_config(config))
