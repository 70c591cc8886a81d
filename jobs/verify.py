"""Compare committed images with their records; exit code 1 where one differs.

A random sample is rendered again and compared by SHA-256. With `stored=true` nothing is rendered, and the stored bytes
of all images are compared.
"""

from typing import Any

from omegaconf import DictConfig

from darkroom.api import events
from darkroom.api.run import Run
from darkroom.api.verification import check_stored, verify
from darkroom.domain.records import Record
from darkroom.jobs import values
from darkroom.jobs.exits import ExitCode
from darkroom.runs.commands import on_run


def run(config: DictConfig) -> ExitCode:
    found = values.run_of(config)
    return _check_stored(config, found) if config.stored else _check_sample(config, found)


def _check_stored(config: DictConfig, run: Run) -> ExitCode:
    found = check_stored(run, say)
    print(f"{found.num_images - found.num_damaged} of {found.num_images} stored images are what their records say")
    if found.num_damaged:
        given = {f"model.{name!s}": value for name, value in config.model.items() if value}
        print(f"next: {on_run('repair', run.store.spec, **given)}")
    return ExitCode.CHECK_FAILED if found.num_damaged else ExitCode.OK


def _check_sample(config: DictConfig, run: Run) -> ExitCode:
    device, model = config.device.value, values.model_place(config.model)
    found = verify(run, say, config.num_images, config.seed, config.image_id, device, model)
    print(f"{found.num_equal} of {found.num_images} images are equal byte by byte when they are rendered again")
    if found.num_pixels_equal:
        print(f"{found.num_pixels_equal} more have equal pixels, and a file that differs: another text or encoder")
    return ExitCode.CHECK_FAILED if found.num_equal < found.num_images else ExitCode.OK


def say(event: Any) -> None:
    match event:
        case events.RenderedElsewhere(then, now):
            print(f"note: rendered then on {then}, now on {now}; low bits may differ")
        case events.ImageDamaged(image_id, place, reason):
            print(f"{image_id} ({place}): {reason}", flush=True)
        case events.ImageDiffers():
            _say_differs(event)


def _say_differs(found: events.ImageDiffers) -> None:
    record = found.record
    digests = f"recorded {record.sha256}, now {found.sha256 or 'nothing'}"
    if found.pixels_are_equal:
        print(f"{record.image_id}: pixels equal, file differs ({found.place}): {digests}")
        return
    print(f"{record.image_id} differs ({found.place}): {digests}; {_made_by(record)}")
    if found.how:
        print(f"  {found.how}; prompt row {record.row}, seed {record.seed}")


def _made_by(record: Record) -> str:
    """So that a bad node can be found."""
    places = (("host", record.host), ("device", record.device_id), ("worker", record.worker))
    return "made by " + ", ".join(f"{name} {value}" for name, value in places if value)
