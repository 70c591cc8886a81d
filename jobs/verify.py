"""Compare committed images with their records; exit code 1 where one differs.

A random sample is rendered again and compared by SHA-256. With `stored=true` nothing is rendered, and the stored bytes
of all images are compared.
"""

import hashlib
from collections import Counter

import numpy as np
from omegaconf import DictConfig

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.jobs.again import Again, Remade
from darkroom.jobs.engine import local_device
from darkroom.jobs.exits import ExitCode
from darkroom.jobs.runs import OpenedRun, opened
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import decode
from darkroom.runs.images import image_bytes, stored_objects
from darkroom.runs.reading import records, sample
from darkroom.storage.store import Store

EQUAL, PIXELS_EQUAL, DIFFERS = "equal", "pixels equal", "differs"


def run(config: DictConfig) -> int:
    found = opened(config)
    return _check_stored(config, found) if config.stored else _check_sample(config, found)


def _check_stored(config: DictConfig, found: OpenedRun) -> int:
    num_images = num_damaged = 0
    for item in stored_objects(found.store, found.cells, found.info.output):
        num_images += len(item.records)
        num_damaged += len(item.damages)
        for image_id, reason in item.damages.items():
            print(f"{image_id} ({found.store.describe(item.key)}): {reason}", flush=True)
    print(f"{num_images - num_damaged} of {num_images} stored images are what their records say")
    if num_damaged:
        print(f"next: {on_run('repair', found.store.spec, **_model_settings(config.model))}")
    return ExitCode.CHECK_FAILED if num_damaged else ExitCode.OK


def _model_settings(model: DictConfig) -> dict[str, object]:
    """What this command says of the run's model."""
    return {f"model.{name!s}": value for name, value in model.items() if value}


def _check_sample(config: DictConfig, found: OpenedRun) -> int:
    chosen = _chosen(config, found.store)
    again = Again(found, config.model, local_device(config.device))
    counts = Counter(_compared(record, made, found.store) for record, made in again.images(chosen))
    print(f"{counts[EQUAL]} of {len(chosen)} images are equal byte by byte when they are rendered again")
    if counts[PIXELS_EQUAL]:
        print(f"{counts[PIXELS_EQUAL]} more have equal pixels, and a file that differs: another text or encoder")
    return ExitCode.CHECK_FAILED if counts[EQUAL] < len(chosen) else ExitCode.OK


def _chosen(config: DictConfig, store: Store) -> list[Record]:
    if config.image_id is None:
        chosen = sample(store, config.num_images, config.seed)
    else:
        chosen = [record for record in records(store) if record.image_id == config.image_id and record.status == OK]
    if not chosen:
        asked = f"image_id={config.image_id}" if config.image_id else "an image"
        raise DarkroomError(
            f"{store.describe()}: {asked} is not among the committed images; see `{on_run('status', store.spec)}`"
        )
    return chosen


def _compared(record: Record, made: Remade | None, store: Store) -> str:
    """One of EQUAL, PIXELS_EQUAL and DIFFERS; says how the image differs."""
    now = hashlib.sha256(made.data).hexdigest() if made else "nothing"
    if now == record.sha256:
        return EQUAL
    where, digests = store.describe(record.key or ""), f"recorded {record.sha256}, now {now}"
    if made and made.pixels_sha256 == record.pixels_sha256:
        print(f"{record.image_id}: pixels equal, file differs ({where}): {digests}")
        return PIXELS_EQUAL
    print(f"{record.image_id} differs ({where}): {digests}; {_made_by(record)}")
    if made:
        print(f"  {_pixel_difference(record, made, store)}; prompt row {record.row}, seed {record.seed}")
    return DIFFERS


def _made_by(record: Record) -> str:
    """So that a bad node can be found."""
    places = (("host", record.host), ("device", record.device_id), ("worker", record.worker))
    return "made by " + ", ".join(f"{name} {value}" for name, value in places if value)


def _pixel_difference(record: Record, made: Remade, store: Store) -> str:
    try:
        old, new = (decode(data).astype(np.int16) for data in (image_bytes(store, record), made.data))
    except DarkroomError as error:
        return f"the stored one cannot be compared: {error}"
    if old.shape != new.shape:
        return f"stored {old.shape}, now {new.shape}"
    difference = np.abs(old - new)
    return f"{np.count_nonzero(difference)} of {old.size} values differ, by at most {difference.max()}"
