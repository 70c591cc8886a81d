"""Puts the right bytes back where a stored image is not what its record says. Changes no record, ever."""

import hashlib
from collections.abc import Mapping

from darkroom.domain.cells import Cell
from darkroom.domain.records import Record
from darkroom.encoding.containers import Member
from darkroom.encoding.images import CONTENT_TYPES
from darkroom.runs.run import OutputInfo
from darkroom.storage.store import Store
from darkroom.worker.layouts import CONTAINERS, Layout
from darkroom.worker.members import as_member
from darkroom.worker.outcomes import called_as_then, recorded_request
from darkroom.worker.stored import NO_KEY, StoredObject, damages_of

Rendered = Mapping[str, bytes | None]  # image_id -> its file, made again; None where that failed


def repair(store: Store, broken: StoredObject, rendered: Rendered, cell: Cell, output: OutputInfo) -> dict[str, str]:
    """Write the object again from its intact images and these; image_id -> why it is still damaged.

    Only bytes with the recorded digest are written, so whoever reads at the same time, or repairs too, sees right ones.
    A container is written whole or not at all.
    """
    if NO_KEY in broken.damages.values():
        return dict(broken.damages)
    damaged = [record for record in broken.records if record.image_id in broken.damages]
    left = {record.image_id: reason for record in damaged if (reason := _wrong(record, rendered[record.image_id]))}
    if left:
        others = "its container holds another image that could not be made again"
        return {record.image_id: left.get(record.image_id, others) for record in damaged}
    layout = CONTAINERS.get(output.layout)
    content_type = layout.content_type if layout else CONTENT_TYPES[output.image_format]
    data = _container(store, layout, broken, rendered, cell, output) if layout else rendered[damaged[0].image_id]
    assert data is not None
    left = damages_of(data, broken.records, cell, output)
    if not left:
        store.put(broken.key, data, content_type)
    return left


def _wrong(record: Record, data: bytes | None) -> str | None:
    if data is None:
        return "it could not be rendered again"
    digest = hashlib.sha256(data).hexdigest()
    return None if digest == record.sha256 else f"rendered again it is {digest}, and its record says {record.sha256}"


def _container(
    store: Store, layout: Layout, broken: StoredObject, rendered: Rendered, cell: Cell, output: OutputInfo
) -> bytes:
    """Its images in their order; equal members give equal bytes, so this is what was stored at first."""
    has_intact = len(broken.damages) < len(broken.records)
    index = layout.index(store.get(broken.key)) if has_intact else {}
    files = {image_id: found.data for image_id, found in index.items()} | dict(rendered)
    return layout.write([_member(record, files[record.image_id] or b"", cell, output) for record in broken.records])


def _member(record: Record, data: bytes, cell: Cell, output: OutputInfo) -> Member:
    return as_member(recorded_request(record, cell), data, called_as_then(cell.model, record), output)
