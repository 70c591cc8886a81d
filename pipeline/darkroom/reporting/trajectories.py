"""How pictures form, for people to see: strips of a run's stored trajectories, and a reference image that dissolves in
noise of the same levels.

Forward noising is q(x_t | x_0) = signal * x_0 + noise * epsilon with the levels of the strip's steps, in pixels: no
model is loaded for a page.
"""

import io
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record
from darkroom.domain.trajectories import TrajectoryStep, parse_steps
from darkroom.reporting.content import Forming, NoisedReference, Strip
from darkroom.reporting.pictures import cut
from darkroom.runs.encoding import decode
from darkroom.runs.run import RunInfo
from darkroom.runs.trajectories import StoredTrajectory, recorded_trajectories, stored_trajectories
from darkroom.storage.store import Store

_SIDE = 128  # pixels of a picture on the page, at most
_QUALITY = 80  # of WebP
_MOST_STRIPS = 200  # on the page
_MOST_NOISED = 50
_SEED = 0  # of the noise


@dataclass(frozen=True, eq=False)
class ReferencePicture:
    """An image of a reference."""

    name: str  # of the reference, as it was named
    pixels: np.ndarray  # (height, width, 3) uint8 RGB


FindReference = Callable[[], ReferencePicture | str | None]  # or why there is none; None: no evaluation has one


def forming(
    store: Store, info: RunInfo, cell_ids: Collection[str], run_href: str | None, find: FindReference
) -> Forming | None:
    """Of these cells; None where no image of theirs has a trajectory. `find` is asked where one has."""
    own = [each for each in recorded_trajectories(store, info) if each.cell_id in cell_ids]
    chosen = _chosen(own)
    if not chosen:
        return None
    found = [_strip(store, item, run_href) for item in stored_trajectories(store, chosen)]
    strips = tuple(each for each in found if isinstance(each, Strip))
    faults = tuple(each for each in found if isinstance(each, str))
    fewer = (f"How the picture forms: {len(chosen)} of {len(own)} trajectories",) if len(chosen) < len(own) else ()
    reference = find() if strips else None
    if isinstance(reference, str):
        faults = (*faults, reference)
    noised = tuple(_noised(strips, reference)) if isinstance(reference, ReferencePicture) else ()
    name = reference.name if isinstance(reference, ReferencePicture) else ""
    return Forming(strips, noised, name, (*fewer, *faults))


def _chosen(records: Sequence[Record]) -> list[Record]:
    """Of as many prompts as the page bears, the first ones, in every cell."""
    rows = sorted({record.row for record in records})
    num_cells = len({record.cell_id for record in records})
    shown = set(rows[: max(1, _MOST_STRIPS // max(1, num_cells))])
    return [record for record in records if record.row in shown]


def _strip(store: Store, item: StoredTrajectory, run_href: str | None) -> Strip | str:
    """What is shown of one, or why nothing is."""
    record, place = item.record, store.describe(item.key)
    if item.fault:
        return f"{place}: {item.fault}"
    try:
        steps, pixels = parse_steps(record.trajectory_steps or ""), decode(item.data)
        pictures = _pictures(pixels, len(steps))
    except (DarkroomError, ValueError, TypeError, KeyError) as error:
        return f"{place}: not readable as a trajectory ({type(error).__name__})"
    height, width = pictures[0].shape[:2]
    href = f"{run_href}/{item.key}" if run_href else None
    return Strip(
        record.image_id,
        record.cell_id,
        record.prompt_id,
        cut(record.prompt),
        steps,
        _webp(pictures, 2),
        href,
        height,
        width,
    )


def _pictures(strip: np.ndarray, num_columns: int) -> list[np.ndarray]:
    """Row by row, each in a square of _SIDE pixels and never enlarged. Raises ValueError for what is no strip."""
    height, width = strip.shape[0] // 2, strip.shape[1] // num_columns
    if strip.shape[:2] != (2 * height, num_columns * width):
        raise ValueError("its sides do not divide")
    scale = min(1.0, _SIDE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    places = [(row * height, column * width) for row in (0, 1) for column in range(num_columns)]
    return [_resized(strip[top : top + height, left : left + width], size) for top, left in places]


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """`size`: (width, height)."""
    image = Image.fromarray(np.ascontiguousarray(pixels))
    return np.asarray(image if image.size == size else image.resize(size, Image.Resampling.LANCZOS))


def _webp(pictures: Sequence[np.ndarray], num_rows: int) -> bytes:
    columns = len(pictures) // num_rows
    rows = [np.concatenate(pictures[row * columns : (row + 1) * columns], axis=1) for row in range(num_rows)]
    buffer = io.BytesIO()
    Image.fromarray(np.concatenate(rows)).save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()


# Forward noising -----------------------------------------------------------------------------------------------------


def _noised(strips: Sequence[Strip], reference: ReferencePicture) -> Iterator[NoisedReference]:
    """A row of pictures for each sequence of noise levels, of the first strip's size."""
    size = strips[0].width, strips[0].height
    fitted = np.asarray(ImageOps.fit(Image.fromarray(reference.pixels), size, Image.Resampling.LANCZOS))
    for steps in list(dict.fromkeys(strip.steps for strip in strips))[:_MOST_NOISED]:
        yield NoisedReference(steps, _webp([noised(fitted, step) for step in steps], 1))


def noised(pixels: np.ndarray, step: TrajectoryStep) -> np.ndarray:
    """(height, width, 3) uint8 with as much noise as the step begins with: the same epsilon in every step."""
    epsilon = np.random.default_rng(_SEED).standard_normal(pixels.shape)
    x_0 = pixels / 127.5 - 1
    x_t = step.signal * x_0 + step.noise * epsilon
    return np.asarray(((x_t + 1) * 127.5).round().clip(0, 255).astype(np.uint8))
