"""Whether the cells of a request can have the trajectories that it asks for, known before anything is loaded."""

from collections.abc import Sequence

from darkroom.api.cells import CheckedCell
from darkroom.api.output_options import OutputOptions
from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import PromptScan
from darkroom.rendering.families import FAMILIES
from darkroom.rendering.family import Latents
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.renderer import PAINT_REPO_ID
from darkroom.rendering.schedulers import DEFAULT, why_no_levels

_STEPS = "num_inference_steps"


def check_trajectory(
    output: OutputOptions, cells: Sequence[CheckedCell], scan: PromptScan, has_policy: bool = False
) -> None:
    """Raises DarkroomError for a model or a scheduler whose steps are not known, and for steps that a cell has not."""
    if not output.trajectory:
        return
    if has_policy:
        raise DarkroomError(
            "output.trajectory=true: it is stored as an image is made, and a policy decides afterwards which images "
            "are kept; leave one of them out"
        )
    if output.trajectory_steps and _STEPS in scan.num_overriding:
        raise DarkroomError(
            f"output.trajectory_steps={list(output.trajectory_steps)}: prompt rows have {_STEPS} of their own; leave "
            f"it out, so that some of each image's own are chosen, or leave the column unread by "
            f"prompts.columns.{_STEPS}=null"
        )
    for item in cells:
        _check_model(item.model)
        _check_scheduler(item)
        _check_steps(output.trajectory_steps or (), item)


def _check_model(model: InspectedModel) -> None:
    if model.plug_in or model.source == PAINT_REPO_ID:
        raise DarkroomError(
            f"output.trajectory=true: {model.source} is no diffusion model of diffusers, so that its steps are not "
            "known; leave it out"
        )
    if model.family.latents is Latents.OTHER:
        known = ", ".join(name for name, family in FAMILIES.items() if family.latents is not Latents.OTHER)
        raise DarkroomError(
            f"output.trajectory=true: how the latents of {model.identity.pipeline_class} are decoded between two steps "
            f"is not known; leave it out, or use a model of one of {known}"
        )


def _check_scheduler(item: CheckedCell) -> None:
    name = item.cell.sampling.scheduler
    if why := why_no_levels(name, item.model):
        called = "the model's own scheduler" if name == DEFAULT else f"sampling.scheduler={name}"
        raise DarkroomError(f"output.trajectory=true: {called}: {why}; leave it out, or give another scheduler")


def _check_steps(steps: Sequence[int], item: CheckedCell) -> None:
    last = item.cell.sampling.num_inference_steps
    if steps and steps[-1] > last:
        raise DarkroomError(
            f"output.trajectory_steps={list(steps)}: step {steps[-1]} is past the last of sampling.{_STEPS}={last}; "
            f"give steps from 1 to {last}, or leave it out"
        )
