"""Render exactly the stored images again that are not what their records say, and put the right bytes back."""

from collections.abc import Iterable, Iterator

from omegaconf import DictConfig

from darkroom.jobs.again import Again
from darkroom.jobs.engine import local_device
from darkroom.jobs.exits import ExitCode
from darkroom.jobs.runs import check_writable, opened
from darkroom.runs.commands import on_run
from darkroom.runs.images import StoredObject, repair, stored_objects

_AT_ONCE = 64  # images held in memory


def run(config: DictConfig) -> int:
    found = opened(config)
    check_writable(found)
    again = Again(found, config.model, local_device(config.device))
    num_damaged = num_left = 0
    for portion in _portions(stored_objects(found.store, found.cells, found.info.output)):
        damaged = [record for item in portion for record in item.records if record.image_id in item.damages]
        rendered = {record.image_id: made.data if made else None for record, made in again.images(damaged)}
        num_damaged += len(damaged)
        for item in portion:
            left = repair(found.store, item, rendered, found.cells[item.cell_id].cell, found.info.output)
            num_left += len(left)
            for image_id in item.damages:
                outcome = f"not repaired: {left[image_id]}" if image_id in left else "repaired"
                print(f"{image_id} ({found.store.describe(item.key)}): {outcome}", flush=True)
    print(f"{num_damaged - num_left} of {num_damaged} damaged images are repaired")
    if num_left:
        print("what is not repaired is as it was, and so are all records")
        print(f"next: {on_run('verify', found.store.spec, stored=True)}")
    return ExitCode.CHECK_FAILED if num_left else ExitCode.OK


def _portions(objects: Iterable[StoredObject]) -> Iterator[list[StoredObject]]:
    """Damaged objects, a bounded number of damaged images at a time."""
    portion: list[StoredObject] = []
    for item in filter(lambda item: item.damages, objects):
        portion.append(item)
        if sum(len(each.damages) for each in portion) >= _AT_ONCE:
            yield portion
            portion = []
    if portion:
        yield portion
