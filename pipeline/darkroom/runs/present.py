"""Which images of a cell are there: how many, and a digest that any other set of them changes. Knows no figure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from darkroom.domain.records import OK
from darkroom.runs import manifest
from darkroom.runs.ahead import read_ahead
from darkroom.runs.keys import ManifestName
from darkroom.storage.store import Store

COLUMNS = ("image_id", "status", "sha256")  # of a record, that decide it


@dataclass(frozen=True)
class PresentImages:
    """Equal for equal images alone: the same ones, with the same files."""

    count: int
    digest: str


@dataclass
class Presence:
    """Gathers a cell's images from its manifests, in order of key."""

    count: int = 0
    _lines: Any = field(default_factory=hashlib.sha256)

    def add(self, table: pa.Table) -> None:
        """One manifest's records, with COLUMNS at least."""
        for image_id, status, sha256 in zip(*(table[name].to_pylist() for name in COLUMNS), strict=True):
            if status == OK:
                self.count += 1
                self._lines.update(f"{image_id} {sha256}\n".encode())

    @property
    def images(self) -> PresentImages:
        return PresentImages(self.count, self._lines.hexdigest())


def present_images(store: Store, names: Iterable[ManifestName]) -> dict[str, PresentImages]:
    """cell_id -> its images in these shards, of every cell that has one; names in order of key."""
    found: dict[str, Presence] = {}
    for name, table in read_ahead(names, lambda name: (name, manifest.read(store, name, COLUMNS))):
        found.setdefault(name.cell_id, Presence()).add(table)
    return {cell_id: presence.images for cell_id, presence in found.items() if presence.count}
