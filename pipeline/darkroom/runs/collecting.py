"""Tells which objects of a run are named and stay so, for whoever has listed objects and is to remove the others.

Only a retry makes a committed shard name other objects. It stores them under names that hold a digest of the manifest
that it read, and replaces that manifest by compare-and-swap. So every manifest that a retry may replace is rewritten
with the same records in other bytes, after the objects were listed:
- an attempt that read it before cannot commit any more, whatever it has stored or adopted;
- one that had committed by then is seen, and what it names stays;
- one that reads it later stores under names that nothing could have when the objects were listed.
Nobody waits for anybody, and who is killed leaves nothing to clear up.
"""

import uuid
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.runs import manifest
from darkroom.runs.keys import ManifestName
from darkroom.storage.store import Store

_RENEWED = "darkroom.renewed"  # in a manifest's metadata


def named_for_good(store: Store, revisable: Iterable[ManifestName]) -> set[str]:
    """Keys that these shards name: of what lies in the store by now, none of them will ever name more."""
    return {key for name in revisable for key in _renewed(store, name)["key"].to_pylist() if key}


def _renewed(store: Store, name: ManifestName) -> pa.Table:
    while True:
        before = store.get(name.key)
        table = pq.ParquetFile(pa.BufferReader(before)).read(use_threads=False)
        said = {**(table.schema.metadata or {}), _RENEWED: uuid.uuid4().hex}
        if manifest.revise(store, name, before, table.replace_schema_metadata(said)):
            return table
