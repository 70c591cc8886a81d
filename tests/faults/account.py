"""What a dataset became under a fault, against the one of an undisturbed run."""

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.domain.records import OK, Record
from darkroom.runs.images import image_bytes
from darkroom.runs.reading import records
from darkroom.storage.store import Store

Name = tuple[str, str, int]  # cell_id, prompt_id, sample_index
Whole = Mapping[Name, str]  # -> sha256


@dataclass(frozen=True)
class Tally:
    """What one drill came to. Lost, doubled and differing are zero."""

    injected: int  # times
    expected: int  # images
    found: int
    lost: int
    doubled: int
    differing: int  # from the undisturbed run, or from what their own records say
    said: str = ""  # by the processes

    @property
    def is_clean(self) -> bool:
        return self.injected > 0 and self.found == self.expected and not (self.lost or self.doubled or self.differing)


def whole(store: Store) -> Whole:
    return {_name(record): record.sha256 or "" for record in records(store)}


def _name(record: Record) -> Name:
    return record.cell_id, record.prompt_id, record.sample_index


def account(store: Store, expected: Whole, injected: int, said: str = "", other_pixels: bool = False) -> Tally:
    """`other_pixels`: writers made different pictures on purpose, so records need only tell what is stored."""
    found = [record for record in records(store) if record.status == OK]
    names = Counter(map(_name, found))
    differing = sum(
        hashlib.sha256(image_bytes(store, record)).hexdigest() != record.sha256
        or not (other_pixels or expected.get(_name(record)) == record.sha256)
        for record in found
    )
    doubled = sum(names.values()) - len(names)
    return Tally(injected, len(expected), len(found), len(expected.keys() - names), doubled, differing, said)
