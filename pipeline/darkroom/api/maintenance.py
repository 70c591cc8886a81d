"""Keeps a run in order: renders its failed records again, copies its manifests, removes what no shard names."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import Any

from darkroom.api.engine import Counting, renderer_spec, started
from darkroom.api.events import Progress, RetryStarted, StageEnded
from darkroom.api.folder_card import write_card
from darkroom.api.models import check_place, models_of
from darkroom.api.options import EngineOptions, ModelPlace
from darkroom.api.output_options import C2paOptions
from darkroom.api.picture_checks import pictures_of
from darkroom.api.policies import run_specs
from darkroom.api.proving import limited_as
from darkroom.api.run import Run, check_writable, open_run, store_at
from darkroom.api.speeds import settled_as
from darkroom.api.watching import check_watching, watched
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import ModelIdentity, Shard
from darkroom.domain.progress import told_of_copies
from darkroom.domain.records import FAILED, num_without_image
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import RetryTask, Summary
from darkroom.rendering.inspected_model import shared_models
from darkroom.runs import compaction
from darkroom.runs.bulk import read_each
from darkroom.runs.cells import dropped_cells
from darkroom.runs.compaction import Compaction, removable_manifests, remove_manifests
from darkroom.runs.files import IMAGES_PREFIX, SIDECARS_PREFIX, TRAJECTORIES_PREFIX, is_image_key
from darkroom.runs.manifest import KEYS, fence_retries
from darkroom.runs.reading import count_statuses, states
from darkroom.runs.signing import check_signing
from darkroom.runs.signing_keys import Signing
from darkroom.storage.local import LocalStore
from darkroom.storage.store import ObjectInfo, Store

# Failed records -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Retry:
    """What became of a run's failed records."""

    num_tried: int
    summary: Summary
    by_status: Counter[str]  # all records of the run, as they are now

    @property
    def is_finished(self) -> bool:
        """Every shard that had a failed record was tried."""
        return not self.summary.failed_shards

    @property
    def has_failures(self) -> bool:
        """What no retry mends is no less failed."""
        return bool(num_without_image(self.by_status))


def retry(
    run: Run,
    engine: EngineOptions,
    progress: Progress,
    model: ModelPlace = ModelPlace(),  # noqa: B008, frozen
    extractors: Sequence[Any] | None = None,
    c2pa: C2paOptions = C2paOptions(),  # noqa: B008
) -> Retry:
    """`extractors`: those of the run's policy, where it has one, as `run_specs` asks for them. `c2pa`: what signs, of
    a run whose images have signed manifests."""
    check_watching(engine, progress)
    signing = _checked_signing(run, c2pa)
    failed = _failed(run)
    summary = Summary()
    if failed:
        num_images = sum(failed.values())
        progress(RetryStarted(num_images, len(failed)))
        check_writable(run)
        tasks = [RetryTask(shard, run.cells[shard.cell_id].cell) for shard in failed]
        counting = Counting(progress, "retry", num_images, engine.price_per_hour)
        with started(settled_as(engine, run.info)) as ready:
            with told_of_copies(progress):
                spec = _retry_worker(run, tasks, model, ready.options, ready.device, extractors)
            spec = replace(spec, signing=signing)
            with watched(counting.meter, engine, run.store, progress):
                ready.dispatcher(spec).run(iter(tasks), counting)
        write_card(run, progress)
        progress(StageEnded("retry", counting.spent))
        summary = counting.summary
    return Retry(sum(failed.values()), summary, count_statuses(run.store))


def _checked_signing(run: Run, c2pa: C2paOptions) -> Signing | None:
    """Raises DarkroomError where new images would not be signed as the others are."""
    signing = c2pa.signing(bool(run.info.output.provenance))
    if run.info.output.c2pa and signing is None:
        raise DarkroomError(
            f"{run.store.describe()}: its images have signed manifests; give output.c2pa.certificate, and its "
            "output.c2pa.private_key, or output.c2pa.certificate=test where that was the run's"
        )
    if signing and not run.info.output.c2pa:
        raise DarkroomError(
            f"output.c2pa.certificate={c2pa.certificate}: the images of {run.store.describe()} have no signed "
            "manifests; leave it out"
        )
    if signing:
        check_signing(signing)
    return signing


def _failed(run: Run) -> dict[Shard, int]:
    """Committed shards with failed records, and how many; those of one model together."""
    tables = read_each(run.store, columns=["status"])
    counts = {shard: count for shard, table in tables if (count := table["status"].to_pylist().count(FAILED))}
    order = list({info.cell.model: None for info in run.cells.values()})
    return {shard: counts[shard] for shard in sorted(counts, key=lambda shard: order.index(_model_of(run, shard)))}


def _model_of(run: Run, shard: Shard) -> ModelIdentity:
    return run.cells[shard.cell_id].cell.model


def _retry_worker(
    run: Run,
    tasks: Sequence[RetryTask],
    place: ModelPlace,
    options: EngineOptions,
    device: str,
    extractors: Sequence[Any] | None,
) -> WorkerSpec:
    check_place(run.cells.values(), place)
    models = models_of([run.cells[task.shard.cell_id] for task in tasks], place, device)
    specs = [
        limited_as(run.store, spec)
        for model in shared_models(models.values())
        for spec in [renderer_spec(model, device, options.images_a_batch, options)]
    ]
    scoring = run_specs(run.info, extractors, device)
    pictures = pictures_of(run.info.pictures, run.store.spec, specs)
    return WorkerSpec(run.info, tuple(specs), run.store.spec, scoring, options.batch_timeout_s, pictures=pictures)


# Manifests in fewer files ---------------------------------------------------------------------------------------------


def compact(run: Run, told: Callable[[int], None] = lambda _: None) -> Compaction:
    """Copy all manifests of a run into segments, from which it is read faster; `told` hears how many so far."""
    check_writable(run)
    return compaction.compact(run.store, told)


# Garbage: images of attempts that lost, and broken writes -----------------------------------------------------------


@dataclass(frozen=True)
class Garbage:
    """What was removed, or would be."""

    objects: tuple[ObjectInfo, ...]  # that no shard names
    num_broken_writes: int
    foreign_files: tuple[str, ...]  # places of files among the images that no job writes: they stay
    num_manifests: int = 0  # that segments copy, where these are asked for

    @property
    def num_bytes(self) -> int:
        return sum(info.size_bytes for info in self.objects)


def collect(
    uri: str,
    endpoint_url: str | None = None,
    older_than_s: float = 3600.0,
    dry_run: bool = False,
    incomplete: bool = False,
    manifests: bool = False,
) -> Garbage:
    """`dry_run`: remove nothing. `incomplete`: also in a run with shards left, on which no job may be working.
    `manifests`: also those that segments copy, but for those with failed records."""
    # Listed before all else: whoever is at work on an image that is listed has its cell in the run by then, so that the
    # run is not complete until its shard is committed, which the manifests, read last, then show.
    listed = _listed(store_at(uri, endpoint_url), older_than_s)
    run = open_run(uri, endpoint_url)
    store = run.store
    if not incomplete:
        _check_complete(run)
    named, revisable = named_keys(store)
    orphans = [info for info in listed if info.key not in named]
    removable = [info for info in orphans if is_image_key(info.key)]
    broken = _broken_writes(store, older_than_s)
    copied = removable_manifests(store) if manifests else []
    if not dry_run:
        removable = remove_orphans(store, removable, revisable)
        remove_manifests(store, copied)
        for path in broken:
            path.unlink(missing_ok=True)
    foreign_files = tuple(store.describe(info.key) for info in orphans if not is_image_key(info.key))
    num_manifests = sum(each.num_manifests for each in copied)
    return Garbage(tuple(removable), len(broken), foreign_files, num_manifests)


def named_keys(store: Store) -> tuple[set[str], list[Shard]]:
    """(keys that manifests name, the shards of which a retry may make more named)."""
    keys: set[str] = set()
    revisable = []
    for shard, table in read_each(store, columns=[*KEYS, "status"]):
        keys.update(key for name in KEYS for key in table[name].to_pylist())
        if FAILED in table["status"].to_pylist():
            revisable.append(shard)
    return keys, revisable


def remove_orphans(store: Store, orphans: Sequence[ObjectInfo], revisable: Sequence[Shard]) -> list[ObjectInfo]:
    """Those that were removed: all but what a retry has come to name since."""
    if not orphans:
        return []
    named = fence_retries(store, revisable)
    left = [info for info in orphans if info.key not in named]
    store.delete(info.key for info in left)
    return left


def _check_complete(run: Run) -> None:
    """An orphan of an incomplete run is what its next start adopts: it may be about to be named. A cell that an early
    choice dropped is complete as it is, until a sweep that renders more of it takes the choice back."""
    going_on = run.cells.keys() - dropped_cells(run.store)
    left = sum(state.num_shards - state.num_committed for state in states(run.store, run.info, going_on).values())
    if left:
        raise DarkroomError(
            f"{run.store.describe()}: {left} shards are not committed, and their images may be adopted; finish the "
            "run with its own command first, or set incomplete=true while no job works on it"
        )


def _listed(store: Store, older_than_s: float) -> list[ObjectInfo]:
    before = datetime.now(UTC) - timedelta(seconds=older_than_s)
    listed = chain.from_iterable(map(store.list, (IMAGES_PREFIX, SIDECARS_PREFIX, TRAJECTORIES_PREFIX)))
    return [info for info in listed if info.modified <= before]


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
