"""Render exactly the stored images again that are not what their records say, and put the right bytes back."""

from typing import Any

from omegaconf import DictConfig

from darkroom.api import events
from darkroom.api.verification import repair
from darkroom.jobs import values, verify
from darkroom.jobs.exits import ExitCode
from darkroom.runs.commands import on_run


def run(config: DictConfig) -> ExitCode:
    found = values.run_of(config)
    result = repair(found, _say, config.device.value, values.model_place(config.model))
    print(f"{result.num_damaged - result.num_left} of {result.num_damaged} damaged images are repaired")
    if result.num_left:
        print("what is not repaired is as it was, and so are all records")
        print(f"next: {on_run('verify', found.store.spec, stored=True)}")
    return ExitCode.CHECK_FAILED if result.num_left else ExitCode.OK


def _say(event: Any) -> None:
    if isinstance(event, events.ImageDamaged):
        outcome = "repaired" if event.is_repaired else f"not repaired: {event.reason}"
        print(f"{event.image_id} ({event.place}): {outcome}", flush=True)
    else:
        verify.say(event)
