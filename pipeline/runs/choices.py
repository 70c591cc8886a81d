"""Which cells an early choice dropped, when and why: written by the sweep, read by the report."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from pipeline.runs.keys import CHOICES_KEY
from pipeline.storage.store import NotFound, Store


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


def put_choices(store: Store, dropped: Sequence[Dropped]) -> None:
    """Over those of an earlier start: a grid that has grown is chosen from anew."""
    text = json.dumps([asdict(item) for item in dropped], indent=1)
    store.put(CHOICES_KEY, text.encode(), "application/json")


def read_choices(store: Store) -> list[Dropped]:
    """None where every cell was rendered to its end."""
    try:
        return [Dropped(**item) for item in json.loads(store.get(CHOICES_KEY))]
    except NotFound:
        return []
