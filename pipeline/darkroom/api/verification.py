"""Compares committed images with their records, rendered again or by their stored bytes; and repairs them."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from darkroom.api.engine import local_device
from darkroom.api.events import ImageDamaged, ImageDiffers, Progress
from darkroom.api.options import ModelPlace
from darkroom.api.rerender import Rerendered, Rerenderer
from darkroom.api.run import Run, check_writable
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.runs import images as stored_images
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import decode
from darkroom.runs.images import StoredObject, image_bytes, stored_objects
from darkroom.runs.reading import records, sample
from darkroom.storage.store import Store

_AT_ONCE = 64  # images held in memory while they are repaired


@dataclass(frozen=True)
class Verification:
    """What a sample of images came to when it was rendered again."""

    num_images: int
    num_equal: int  # byte by byte
    num_pixels_equal: int  # of the others: another text in the file, or another encoder


@dataclass(frozen=True)
class StoredCheck:
    """What the stored bytes of all images came to."""

    num_images: int
    num_damaged: int


@dataclass(frozen=True)
class Repair:
    """What became of images that were not what their records say."""

    num_damaged: int
    num_left: int  # that are as they were


def verify(
    run: Run,
    progress: Progress,
    num_images: int = 16,
    seed: int = 0,
    image_id: str | None = None,
    device: str = "auto",
    model: ModelPlace = ModelPlace(),  # noqa: B008, frozen
) -> Verification:
    """Render a random sample again, or the one image, and compare by SHA-256; each that differs is told."""
    chosen = _chosen(run.store, num_images, seed, image_id)
    rerenderer = Rerenderer(run, model, local_device(device), progress)
    differing = [
        found for record, made in rerenderer.images(chosen) if (found := _difference(record, made, run.store, progress))
    ]
    num_pixels_equal = sum(found.pixels_are_equal for found in differing)
    return Verification(len(chosen), len(chosen) - len(differing), num_pixels_equal)


def check_stored(run: Run, progress: Progress) -> StoredCheck:
    """Compare every image's stored bytes with its record; nothing is rendered."""
    num_images = num_damaged = 0
    for item in stored_objects(run.store, run.cells, run.info.output):
        num_images += len(item.records)
        num_damaged += len(item.damages)
        for image_id, reason in item.damages.items():
            progress(ImageDamaged(image_id, run.store.describe(item.key), reason))
    return StoredCheck(num_images, num_damaged)


def repair(
    run: Run,
    progress: Progress,
    device: str = "auto",
    model: ModelPlace = ModelPlace(),  # noqa: B008, frozen
) -> Repair:
    """Render exactly those stored images again that are not what their records say, and put the right bytes back."""
    check_writable(run)
    rerenderer = Rerenderer(run, model, local_device(device), progress)
    num_damaged = num_left = 0
    for portion in _portions(stored_objects(run.store, run.cells, run.info.output)):
        damaged = [record for item in portion for record in item.records if record.image_id in item.damages]
        rendered = {record.image_id: made.data if made else None for record, made in rerenderer.images(damaged)}
        num_damaged += len(damaged)
        for item in portion:
            left = stored_images.repair(run.store, item, rendered, run.cells[item.cell_id].cell, run.info.output)
            num_left += len(left)
            for image_id in item.damages:
                place, reason = run.store.describe(item.key), left.get(image_id, "")
                progress(ImageDamaged(image_id, place, reason, is_repaired=image_id not in left))
    return Repair(num_damaged, num_left)


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


def _chosen(store: Store, num_images: int, seed: int, image_id: str | None) -> list[Record]:
    if image_id is None:
        chosen = sample(store, num_images, seed)
    else:
        chosen = [record for record in records(store) if record.image_id == image_id and record.status == OK]
    if not chosen:
        asked = f"image_id={image_id}" if image_id else "an image"
        raise DarkroomError(
            f"{store.describe()}: {asked} is not among the committed images; see `{on_run('status', store.spec)}`"
        )
    return chosen


def _difference(record: Record, made: Rerendered | None, store: Store, progress: Progress) -> ImageDiffers | None:
    """How an image differs, which is told; None where it is equal byte by byte."""
    now = hashlib.sha256(made.data).hexdigest() if made else None
    if now == record.sha256:
        return None
    pixels_are_equal = made is not None and made.pixels_sha256 == record.pixels_sha256
    how = _pixel_difference(record, made, store) if made and not pixels_are_equal else None
    found = ImageDiffers(record, store.describe(record.key or ""), now, pixels_are_equal, how)
    progress(found)
    return found


def _pixel_difference(record: Record, made: Rerendered, store: Store) -> str:
    try:
        old, new = (decode(data).astype(np.int16) for data in (image_bytes(store, record), made.data))
    except DarkroomError as error:
        return f"the stored one cannot be compared: {error}"
    if old.shape != new.shape:
        return f"stored {old.shape}, now {new.shape}"
    difference = np.abs(old - new)
    return f"{np.count_nonzero(difference)} of {old.size} values differ, by at most {difference.max()}"
