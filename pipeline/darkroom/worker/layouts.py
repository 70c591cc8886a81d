"""Where a shard's encoded images go: one object each, a WebDataset tar, or Parquet.

Every put is conditional. Who comes second adopts bytes that are equal to its own. Where others lie under the key, such
as those of another batch size or of a copy that broke off, its own go under a key that has their digest in it: so a
record describes the attempt that made its bytes, and no attempt changes what another one may be about to commit.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from darkroom.encoding import containers
from darkroom.encoding.containers import Indexed, Member
from darkroom.encoding.images import CONTENT_TYPES
from darkroom.runs.keys import container_key, image_key
from darkroom.storage.store import NotFound, Store


@dataclass(frozen=True, slots=True)
class Placed:
    """Where one image's bytes lie, and what they are."""

    key: str
    member: str | None
    offset: int | None
    sha256: str
    size_bytes: int
    superseded: str | None  # key of other bytes, which nothing names once this attempt has committed


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


def place_image(store: Store, member: Member, image_format: str, suffix: str = "") -> Placed:
    """Store one image as an object of its own."""
    digest = _digest(member.data)
    keys = [image_key(name, member.extension) for name in _names(f"{member.image_id}{suffix}", digest)]
    key, superseded = _put(store, keys, member.data, CONTENT_TYPES[image_format])
    return Placed(key, None, None, digest, len(member.data), superseded)


def place_container(store: Store, layout: Layout, name: str, members: Sequence[Member]) -> dict[str, Placed]:
    """Store a shard's images as one object; image_id -> place."""
    data = layout.write(members)
    keys = [container_key(each, layout.extension) for each in _names(name, _digest(data))]
    key, superseded = _put(store, keys, data, layout.content_type)
    return {
        image_id: Placed(key, found.member, found.offset, _digest(found.data), len(found.data), superseded)
        for image_id, found in layout.index(data).items()
    }


def _names(name: str, digest: str) -> tuple[str, str]:
    """What an object is called, and what it is called where other bytes have that name."""
    return name, f"{name}-{digest[:16]}"


def _put(store: Store, keys: Sequence[str], data: bytes, content_type: str) -> tuple[str, str | None]:
    """(the key under which exactly these bytes lie now, the key of other bytes that were in their way)."""
    first, second = keys
    if store.put_if_absent(first, data, content_type) or _holds(store, first, data):
        return first, None
    if not (store.put_if_absent(second, data, content_type) or _holds(store, second, data)):
        store.put(second, data, content_type)  # it is named by these bytes, so what lies there is damaged
    return second, first


def _holds(store: Store, key: str, data: bytes) -> bool:
    try:
        return store.get(key) == data
    except NotFound:  # removed meanwhile, or a folder of that name
        return False


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
