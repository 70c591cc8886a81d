"""What sweeps chose early among their cells, by successive halving: which cells they dropped, when, why and how."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.runs.files import CHOICES_KEY, from_json, to_json
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


@dataclass(frozen=True)
class Halving:
    """One sweep's early choice: what its command said of it, and the cells that it was among."""

    options: Mapping[str, object]  # of `halving`, by their names
    evaluation: Mapping[str, object]  # of `evaluation` likewise
    cell_ids: Sequence[str]
    kept: Sequence[str]  # those that were not dropped; all of them until the choice is made
    fault: str = ""  # why no cell could be dropped; empty where cells could be


@dataclass(frozen=True)
class Choices:
    """All of a run's."""

    dropped: Sequence[Dropped] = ()
    halvings: Sequence[Halving] = field(default=())  # oldest first


def put_choices(
    store: Store, chosen_from: Collection[str], dropped: Sequence[Dropped], halving: Halving | None = None
) -> None:
    """What a sweep dropped of its cells, and by which halving, if by any. What earlier sweeps dropped stays, but for
    cells that are in this one too, and so do their halvings, but for those of which all cells are in this one.

    Raises DarkroomError where what is there cannot be read: it is not thrown away.
    """
    taken = set(halving.cell_ids if halving else chosen_from)
    while True:
        before = _stored(store)
        earlier = _parsed(store, before)
        others = [item for item in earlier.dropped if item.cell_id not in chosen_from]
        halvings = [item for item in earlier.halvings if not taken.issuperset(item.cell_ids)]
        text = to_json(asdict(Choices([*others, *dropped], [*halvings, *([halving] if halving else [])])))
        if before is None:
            done = store.put_if_absent(CHOICES_KEY, text, "application/json")
        else:
            done = store.replace(CHOICES_KEY, text, before, "application/json")
        if done:  # else another sweep of this run came between
            return


def read_choices(store: Store) -> Choices:
    """Empty where every cell was rendered to its end. Raises DarkroomError for a file that holds no choices."""
    return _parsed(store, _stored(store))


def dropped_cells(store: Store) -> set[str]:
    """cell_ids."""
    return {item.cell_id for item in read_choices(store).dropped}


def _stored(store: Store) -> bytes | None:
    try:
        return store.get(CHOICES_KEY)
    except NotFound:
        return None


def _parsed(store: Store, data: bytes | None) -> Choices:
    try:
        return Choices() if data is None else _choices(json.loads(data))
    except (ValueError, TypeError, KeyError) as error:
        reason = first_line(error)
        raise DarkroomError(
            f"{store.describe(CHOICES_KEY)}: not readable as a sweep's early choices ({reason}); "
            "remove it, and give the command of the sweep with halving again: it makes the same choices from the "
            "images that are there"
        ) from error


def _choices(value: Any) -> Choices:
    """Version 0.1 wrote a list of what was dropped, alone."""
    if isinstance(value, list):
        return Choices([from_json(Dropped, item) for item in value])
    dropped = [from_json(Dropped, item) for item in value["dropped"]]
    return Choices(dropped, [from_json(Halving, item) for item in value["halvings"]])
