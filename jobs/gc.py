"""Remove what no committed shard of a complete run names: images of attempts that lost, and broken writes."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from omegaconf import DictConfig

from jobs.cli import run_job
from jobs.runs import OpenedRun, opened
from pipeline.domain.errors import DarkroomError
from pipeline.runs import manifest
from pipeline.runs.keys import IMAGES_PREFIX
from pipeline.runs.reading import states
from pipeline.storage.local import LocalStore
from pipeline.storage.store import Store


def run(config: DictConfig) -> int:
    found = opened(config)
    store = found.store
    if not config.incomplete:
        _check_complete(found)
    orphans = _orphans(store, config.older_than_s)
    size = sum(size_bytes for _, size_bytes in orphans)
    broken = _broken_writes(store, config.older_than_s)
    if not config.dry_run:
        store.delete(key for key, _ in orphans)
        for path in broken:
            path.unlink(missing_ok=True)
    verb = "would be removed" if config.dry_run else "removed"
    print(f"{len(orphans)} objects ({size / 1e6:.1f} MB) that no shard names, and {len(broken)} broken writes {verb}")
    return 0


def _check_complete(found: OpenedRun) -> None:
    """An orphan of an incomplete run is what its next start adopts: it may be about to be named."""
    left = sum(
        state.num_shards - len(state.committed) for state in states(found.store, found.info, found.cells).values()
    )
    if left:
        raise DarkroomError(
            f"{found.store.describe()}: {left} shards are not committed, and their images may be adopted; finish the "
            "run with its own command first, or set incomplete=true while no job works on it"
        )


def _orphans(store: Store, older_than_s: float) -> list[tuple[str, int]]:
    """(key, bytes) of images that no manifest names. Listed before the manifests are read, and old enough that no
    running job can be about to commit them."""
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    listed = [(info.key, info.size_bytes) for info in store.list(IMAGES_PREFIX) if info.modified <= before]
    named = {
        key for name in manifest.committed(store) for key in manifest.read(store, name, ["key"])["key"].to_pylist()
    }
    return [(key, size_bytes) for key, size_bytes in listed if key not in named]


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


if __name__ == "__main__":
    run_job("gc")
