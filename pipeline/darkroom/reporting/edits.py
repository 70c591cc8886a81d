"""Images beside the pictures that they were made from, for people to see.

A picture is read where the run's command had it, and shown while it still is what the record says that it was.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record, recorded_pictures
from darkroom.domain.settings import CONTROL, IMAGE, MASK
from darkroom.reporting.content import Edit
from darkroom.reporting.pictures import cut
from darkroom.runs.images import StoredFile, stored_files
from darkroom.runs.pictures import Decoded, fitted, read
from darkroom.runs.run import RunInfo
from darkroom.storage.named_files import NamedPlace, Unreadable
from darkroom.storage.store import Store, StoreError, prefetched

_MOST = 48  # on the page
_SIDE = 256  # pixels of one picture, at most
_QUALITY = 82  # of WebP
_SAID = {IMAGE: "picture", MASK: "mask", CONTROL: "control"}


@dataclass(frozen=True)
class Edits:
    shown: tuple[Edit, ...] = ()
    notes: tuple[str, ...] = ()  # what is left out, and why


def edits(store: Store, info: RunInfo, records: Sequence[Record]) -> Edits:
    """Of those of these images that are made from pictures, the first ones."""
    own = [record for record in records if recorded_pictures(record)]
    chosen = own[:_MOST]
    place = replace(info.pictures, kept=store.spec)
    made = prefetched(stored_files(store, chosen), lambda file: _edit(file, place)) if chosen else ()
    found = list(made)
    fewer = (
        (f"Made from pictures: {len(chosen)} of {len(own)} images that are shown",) if len(chosen) < len(own) else ()
    )
    return Edits(
        tuple(each for each in found if isinstance(each, Edit)),
        (*fewer, *dict.fromkeys(each for each in found if isinstance(each, str))),
    )


def _edit(file: StoredFile, place: NamedPlace) -> Edit | str:
    """What is shown of one, or why nothing is."""
    record = file.record
    try:
        picture, pixels = fitted(_read(record, place), record.sampling), file.pixels()
    except (Unreadable, StoreError, DarkroomError) as error:
        named = getattr(record.sampling, record.sampling.pictures[0])
        return f"Made from pictures: {named} is not shown: {error}"
    return Edit(
        record.image_id,
        record.cell_id,
        cut(record.prompt),
        (*(_SAID[name] for name in picture.pixels), "image"),
        *differences(picture, pixels),
        _webp([*(_rgb(each) for each in picture.pixels.values()), pixels]),
    )


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return np.repeat(pixels[..., None], 3, axis=2) if pixels.ndim == 2 else pixels


def differences(picture: Decoded, pixels: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """(mean difference, that where a mask keeps the picture, percent of all difference where it paints); None of an
    image from noise."""
    if picture.image is None:
        return None, None, None
    apart = np.abs(pixels.astype(np.int16) - picture.image).mean(axis=2)
    if picture.mask is None:
        return float(apart.mean()), None, None
    painted, total = picture.mask > 0, float(apart.sum())
    kept = float(apart[~painted].mean()) if not painted.all() else 0.0
    return float(apart.mean()), kept, 100 * float(apart[painted].sum()) / total if total else 100.0


def _read(record: Record, place: NamedPlace) -> Decoded:
    """Raises Unreadable where it is not what it was."""
    found = read(place, record.sampling)
    if found.digests != {each.name: each.sha256 for each in recorded_pictures(record)}:
        raise Unreadable("it is another picture than the image was made from")
    return found


def _webp(pictures: Sequence[np.ndarray]) -> bytes:
    """Side by side, with a white line between."""
    height, width = pictures[0].shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    tiles = [np.asarray(Image.fromarray(each).resize(size, Image.Resampling.LANCZOS)) for each in pictures]
    line = np.full((size[1], 2, 3), 255, np.uint8)
    row = [tiles[0], *(part for tile in tiles[1:] for part in (line, tile))]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(row, axis=1)).save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()
