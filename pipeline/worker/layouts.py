"""Where a shard's encoded images go: one object each, a WebDataset tar, or Parquet.

Every put is conditional. Who comes second adopts the bytes that are there, so records always describe what is stored.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pipeline.encoding import containers
from pipeline.encoding.containers import Indexed, Member
from pipeline.encoding.images import CONTENT_TYPES
from pipeline.runs.keys import container_key, image_key
from pipeline.storage.store import Store


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one image's bytes lie, and what they are."""

    key: str
    member: str | None
    offset: int | None
    sha256: str
    size_bytes: int
    adopted: bool  # another attempt's bytes


@dataclass(frozen=True)
class Layout:
    """How one kind of container is written and read back; none for one object an image."""

    extension: str
    content_type: str
    write: Callable[[Sequence[Member]], bytes]
    index: Callable[[bytes], dict[str, Indexed]]


CONTAINERS: Mapping[str, Layout] = {
    "webdataset": Layout("tar", "application/x-tar", containers.write_tar, containers.index_tar),
    "parquet": Layout("parquet", "application/vnd.apache.parquet", containers.write_parquet, containers.index_parquet),
}
LAYOUTS = ("files", *CONTAINERS)


def place_image(store: Store, member: Member, image_format: str) -> Placed:
    """Store one image as an object of its own."""
    key = image_key(member.image_id, member.extension)
    written = store.put_if_absent(key, member.data, CONTENT_TYPES[image_format])
    return _placed(key, None, None, member.data if written else store.get(key), not written)


def place_container(store: Store, layout: Layout, name: str, members: Sequence[Member]) -> dict[str, Placed]:
    """Store a shard's images as one object; image_id -> place, for all that the stored object holds."""
    key = container_key(name, layout.extension)
    data = layout.write(members)
    written = store.put_if_absent(key, data, layout.content_type)
    index = layout.index(data if written else store.get(key))
    return {name: _placed(key, found.member, found.offset, found.data, not written) for name, found in index.items()}


def _placed(key: str, member: str | None, offset: int | None, data: bytes, adopted: bool) -> Placed:
    return Placed(key, member, offset, hashlib.sha256(data).hexdigest(), len(data), adopted)
