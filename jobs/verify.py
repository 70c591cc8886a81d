"""Compare committed images with their records; exit code 1 where one differs.

A random sample is rendered again and compared by SHA-256. With `stored=true` nothing is rendered, and the stored bytes
of all images are compared.
"""

import hashlib

import numpy as np
from omegaconf import DictConfig

from jobs.again import Again
from jobs.cli import run_job
from jobs.engine import local_device
from jobs.exits import ExitCode
from jobs.printed import on_run
from jobs.runs import OpenedRun, opened
from pipeline.domain.errors import DarkroomError
from pipeline.domain.records import OK, Record
from pipeline.encoding.images import decode
from pipeline.runs.reading import image_bytes, records, sample
from pipeline.storage.store import Store
from pipeline.worker.stored import stored_objects


def run(config: DictConfig) -> int:
    found = opened(config)
    return _check_stored(found) if config.stored else _check_sample(config, found)


def _check_stored(found: OpenedRun) -> int:
    num_images = num_damaged = 0
    for item in stored_objects(found.store, found.cells, found.info.output):
        num_images += len(item.records)
        num_damaged += len(item.damages)
        for image_id, reason in item.damages.items():
            print(f"{image_id} ({found.store.describe(item.key)}): {reason}", flush=True)
    print(f"{num_images - num_damaged} of {num_images} stored images are what their records say")
    if num_damaged:
        print(f"next: {on_run('repair', found.store.spec)}")
    return ExitCode.CHECK_FAILED if num_damaged else ExitCode.OK


def _check_sample(config: DictConfig, found: OpenedRun) -> int:
    chosen = _chosen(config, found.store)
    again = Again(found, local_device(config.device))
    differing = sum(_compare(record, data, found.store) for record, data in again.files(chosen))
    print(f"{len(chosen) - differing} of {len(chosen)} images are equal byte by byte when they are rendered again")
    return ExitCode.CHECK_FAILED if differing else ExitCode.OK


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


def _compare(record: Record, data: bytes | None, store: Store) -> bool:
    """Whether the image differs; says how."""
    now = hashlib.sha256(data).hexdigest() if data else "nothing"
    if now == record.sha256:
        return False
    print(f"{record.image_id} differs ({store.describe(record.key or '')}): recorded {record.sha256}, now {now}")
    if data:
        print(f"  {_pixel_difference(image_bytes(store, record), data)}; prompt row {record.row}, seed {record.seed}")
    return True


def _pixel_difference(stored: bytes, rendered: bytes) -> str:
    old, new = (decode(data).astype(np.int16) for data in (stored, rendered))
    if old.shape != new.shape:
        return f"stored {old.shape}, now {new.shape}"
    difference = np.abs(old - new)
    return f"{np.count_nonzero(difference)} of {old.size} values differ, by at most {difference.max()}"


if __name__ == "__main__":
    run_job("verify")
