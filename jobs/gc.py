"""Remove what no committed shard of a complete run names: images of attempts that lost, and broken writes."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from omegaconf import DictConfig

from darkroom.domain.cells import Shard
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import FAILED
from darkroom.jobs.runs import OpenedRun, opened, store_at
from darkroom.runs import manifest
from darkroom.runs.cells import dropped_cells
from darkroom.runs.keys import IMAGES_PREFIX, is_image_key
from darkroom.runs.manifest import fence_retries
from darkroom.runs.reading import states
from darkroom.storage.local import LocalStore
from darkroom.storage.store import ObjectInfo, Store


def run(config: DictConfig) -> int:
    # Listed before all else: whoever is at work on an image that is listed has its cell in the run by then, so that the
    # run is not complete until its shard is committed, which the manifests, read last, then show.
    listed = _listed(store_at(config.run, config.endpoint_url), config.older_than_s)
    found = opened(config)
    store = found.store
    if not config.incomplete:
        _check_complete(found)
    named, revisable = _named(store)
    orphans = [info for info in listed if info.key not in named]
    ours = [info for info in orphans if is_image_key(info.key)]
    broken = _broken_writes(store, config.older_than_s)
    if config.dry_run:
        _say(ours, broken, "would be removed")
    else:
        _say(_removed(store, ours, revisable), broken, "removed")
        for path in broken:
            path.unlink(missing_ok=True)
    _say_strangers(store, [info for info in orphans if not is_image_key(info.key)])
    return 0


def _say(removed: Sequence[ObjectInfo], broken: Sequence[Path], verb: str) -> None:
    size = sum(info.size_bytes for info in removed)
    print(f"{len(removed)} objects ({size / 1e6:.1f} MB) that no shard names, and {len(broken)} broken writes {verb}")


def _say_strangers(store: Store, strangers: Sequence[ObjectInfo]) -> None:
    if strangers:
        print(f"{len(strangers)} files there that no job writes stay, such as {store.describe(strangers[0].key)}")


def _check_complete(found: OpenedRun) -> None:
    """An orphan of an incomplete run is what its next start adopts: it may be about to be named. A cell that an early
    choice dropped is complete as it is, until a sweep that renders more of it takes the choice back."""
    kept = found.cells.keys() - dropped_cells(found.store)
    left = sum(state.num_shards - len(state.committed) for state in states(found.store, found.info, kept).values())
    if left:
        raise DarkroomError(
            f"{found.store.describe()}: {left} shards are not committed, and their images may be adopted; finish the "
            "run with its own command first, or set incomplete=true while no job works on it"
        )


def _listed(store: Store, older_than_s: float) -> list[ObjectInfo]:
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    return [info for info in store.list(IMAGES_PREFIX) if info.modified <= before]


def _named(store: Store) -> tuple[set[str], list[Shard]]:
    """(keys that manifests name, the shards of which a retry may make more named)."""
    keys: set[str] = set()
    revisable = []
    for name in manifest.committed(store):
        table = manifest.read(store, name, ["key", "status"])
        keys.update(table["key"].to_pylist())
        if FAILED in table["status"].to_pylist():
            revisable.append(name)
    return keys, revisable


def _removed(store: Store, orphans: Sequence[ObjectInfo], revisable: Sequence[Shard]) -> list[ObjectInfo]:
    """Those that were removed: all but what a retry has come to name since."""
    if not orphans:
        return []
    named = fence_retries(store, revisable)
    left = [info for info in orphans if info.key not in named]
    store.delete(info.key for info in left)
    return left


def _broken_writes(store: Store, older_than_s: float) -> list[Path]:
    if not isinstance(store, LocalStore):
        return []
    return [path for path in store.temporaries() if _age_s(path) >= older_than_s]


def _age_s(path: Path) -> float:
    """Seconds since the last write; below zero for a file that has gone meanwhile."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return -1.0
