"""Which cells an early choice dropped, when and why: written by the sweep, read by the report."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass

from darkroom.domain.errors import DarkroomError
from darkroom.runs.keys import CHOICES_KEY
from darkroom.runs.values import from_json
from darkroom.storage.store import NotFound, Store


@dataclass(frozen=True)
class Dropped:
    """A cell that was not rendered to its end."""

    cell_id: str
    round: int  # from 1
    num_rounds: int
    num_images: int  # of the cell, that the choice was made from
    figure: str  # such as demo_clip.clip_score
    value: float
    rank: int  # from 1
    num_cells: int  # that were ranked
    num_kept: int


def put_choices(store: Store, chosen_from: Collection[str], dropped: Sequence[Dropped]) -> None:
    """What a sweep dropped of its cells. What earlier sweeps dropped stays, but for cells that are in this one too.

    Raises DarkroomError where what is there cannot be read: it is nobody's to throw away.
    """
    while True:
        before = _stored(store)
        kept = [item for item in _parsed(store, before) if item.cell_id not in chosen_from]
        text = json.dumps([asdict(item) for item in [*kept, *dropped]], indent=1).encode()
        if before is None:
            done = store.put_if_absent(CHOICES_KEY, text, "application/json")
        else:
            done = store.replace(CHOICES_KEY, text, before, "application/json")
        if done:  # else another sweep of this run came between
            return


def read_choices(store: Store) -> list[Dropped]:
    """None where every cell was rendered to its end. Raises DarkroomError for a file that holds no choices."""
    return _parsed(store, _stored(store))


def dropped_cells(store: Store) -> set[str]:
    """cell_ids."""
    return {item.cell_id for item in read_choices(store)}


def _stored(store: Store) -> bytes | None:
    try:
        return store.get(CHOICES_KEY)
    except NotFound:
        return None


def _parsed(store: Store, data: bytes | None) -> list[Dropped]:
    try:
        return [] if data is None else [from_json(Dropped, item) for item in _list(json.loads(data))]
    except (ValueError, TypeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise DarkroomError(
            f"{store.describe(CHOICES_KEY)}: not readable as a sweep's early choices ({reason}); "
            "remove it, and give the command of the sweep with halving again: it makes the same choices from the "
            "images that are there"
        ) from error


def _list(value: object) -> list:
    if not isinstance(value, list):
        raise TypeError(f"a {type(value).__name__}, not a list")
    return value
