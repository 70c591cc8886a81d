"""Makes the features that an evaluation needs, on the engine that was asked for."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from darkroom.api.engine import Engine
from darkroom.api.events import FeaturesStarted, ImageLeftOut, ImagesLeftOut, Progress, StageEnded
from darkroom.api.listening import Counting
from darkroom.api.run import Run
from darkroom.domain.cells import Shard
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.records import OK
from darkroom.engine.feature_worker import FeatureWorkerSpec
from darkroom.engine.tasks import FeatureTask, task_name
from darkroom.features.extractor import ExtractorSpec
from darkroom.runs import manifest
from darkroom.runs.features import ShardFeatures, get_features
from darkroom.storage.store import Store, prefetched

_MOST_NAMED = 10  # images without features


@dataclass(frozen=True)
class Extracted:
    """The shards that were there when extraction began: what an evaluation is of, whatever is committed beside it."""

    names: tuple[Shard, ...]
    num_left_out: int  # images that have no features

    def of_cell(self, cell_id: str, starts: Collection[int] | None = None) -> list[Shard]:
        """With `starts`, of the shards that start at these rows."""
        return [name for name in self.names if name.cell_id == cell_id and (starts is None or name.start in starts)]


@dataclass(frozen=True)
class _ShardFeatures:
    """A shard's features as they are stored."""

    is_complete: bool  # every file that a record names was looked at, by every extractor
    left_out: dict[str, tuple[str, str]]  # image_id -> key, and why it has no features


def extract(
    run: Run, specs: Sequence[ExtractorSpec], extractor_ids: Sequence[str], engine: Engine, progress: Progress
) -> Extracted:
    """Features of every committed image that has none of the file that its record names.

    Tells which have none after. Raises TryAgain where shards could not be read.
    """
    names = tuple(name for name in manifest.committed(run.store) if name.cell_id in run.cells)
    if not names:
        raise DarkroomError(f"{run.store.describe()}: no shard is committed; render it first")
    found = _stored(run.store, names, extractor_ids)
    missing = [name for name, shard in found.items() if not shard.is_complete]
    _extract(run, missing, specs, engine, progress)
    found |= _stored(run.store, missing, extractor_ids)
    return Extracted(names, _tell_left_out(run.store, found.values(), progress))


def _stored(store: Store, names: Sequence[Shard], extractor_ids: Sequence[str]) -> dict[Shard, _ShardFeatures]:
    found = prefetched(names, lambda name: _stored_shard(store, name, extractor_ids))
    return dict(zip(names, found, strict=True))


def _stored_shard(store: Store, name: Shard, extractor_ids: Sequence[str]) -> _ShardFeatures:
    table = manifest.read(store, name, ["image_id", "status", "sha256", "key"])
    ok = [row for row in table.to_pylist() if row["status"] == OK]
    is_complete, left_out = True, {}
    for found in (get_features(store, extractor_id, name) for extractor_id in extractor_ids):
        is_complete = is_complete and found is not None and all(_has(found, row) for row in ok)
        for row in ok if found else ():
            if found and (error := found.error(row["image_id"], row["sha256"], store.spec)):
                left_out[row["image_id"]] = row["key"], error
    return _ShardFeatures(is_complete, left_out)


def _has(found: ShardFeatures, row: dict) -> bool:
    return found.place(row["image_id"], row["sha256"]) is not None


def _tell_left_out(store: Store, shards: Iterable[_ShardFeatures], progress: Progress) -> int:
    """How many images have no features; the first ones by name."""
    left_out = [item for shard in shards for item in shard.left_out.items()]
    for image_id, (key, reason) in left_out[:_MOST_NAMED]:
        progress(ImageLeftOut(image_id, store.describe(key), reason))
    if left_out:
        progress(ImagesLeftOut(len(left_out), max(0, len(left_out) - _MOST_NAMED)))
    return len(left_out)


def _extract(
    run: Run, names: Sequence[Shard], specs: Sequence[ExtractorSpec], engine: Engine, progress: Progress
) -> None:
    if not names:
        return
    num_images = sum(name.stop - name.start for name in names) * run.info.num_images_per_prompt
    progress(FeaturesStarted(len(names), num_images, tuple(spec.name for spec in specs)))
    counting = Counting(progress, "features", num_images)
    dispatcher = engine.dispatcher(FeatureWorkerSpec(tuple(specs), run.store.spec))
    dispatcher.run((FeatureTask(name) for name in names), counting)
    progress(StageEnded("features"))
    for task, reason in counting.summary.failed_shards[:1]:
        left = len(counting.summary.failed_shards)
        raise TryAgain(f"{left} shards could not be scored; {task_name(task)}: {reason}; the same command goes on")
