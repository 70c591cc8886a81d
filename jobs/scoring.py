"""Makes the features that an evaluation needs, on the engine that was asked for."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from darkroom.domain.cells import Shard
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.records import OK
from darkroom.engine.feature_worker import FeatureWorkerSpec
from darkroom.engine.tasks import FeatureTask, task_name
from darkroom.features.extractor import ExtractorSpec
from darkroom.jobs.engine import Engine
from darkroom.jobs.progress import ProgressView
from darkroom.jobs.runs import OpenedRun
from darkroom.runs import manifest
from darkroom.runs.features import ShardFeatures, get_features
from darkroom.runs.files import prefetched
from darkroom.storage.store import Store

_MOST_NAMED = 10  # images without features


@dataclass(frozen=True)
class Scored:
    """The shards that were there when scoring began: what an evaluation is of, whatever is committed beside it."""

    names: tuple[Shard, ...]
    num_left_out: int  # images that have no features

    def of_cell(self, cell_id: str, starts: Collection[int] | None = None) -> list[Shard]:
        """With `starts`, of the shards that start at these rows."""
        return [name for name in self.names if name.cell_id == cell_id and (starts is None or name.start in starts)]


def score(found: OpenedRun, specs: Sequence[ExtractorSpec], extractor_ids: Sequence[str], engine: Engine) -> Scored:
    """Score every committed image that has no features of the file that its record names; say which have none after."""
    names = tuple(name for name in manifest.committed(found.store) if name.cell_id in found.cells)
    if not names:
        raise DarkroomError(f"{found.store.describe()}: no shard is committed; render it first")
    looks = _looks(found.store, names, extractor_ids)
    unscored = [name for name, look in looks.items() if not look.is_complete]
    _score(found, unscored, specs, engine)
    looks |= _looks(found.store, unscored, extractor_ids)
    return Scored(names, _say_left_out(found.store, looks.values()))


@dataclass(frozen=True)
class _Look:
    """A shard's features as they are stored."""

    is_complete: bool  # every file that a record names was looked at, by every extractor
    left_out: dict[str, tuple[str, str]]  # image_id -> key, and why it has no features


def _looks(store: Store, names: Sequence[Shard], extractor_ids: Sequence[str]) -> dict[Shard, _Look]:
    looks = prefetched(names, lambda name: _look(store, name, extractor_ids))
    return dict(zip(names, looks, strict=True))


def _look(store: Store, name: Shard, extractor_ids: Sequence[str]) -> _Look:
    table = manifest.read(store, name, ["image_id", "status", "sha256", "key"])
    ok = [row for row in table.to_pylist() if row["status"] == OK]
    is_complete, left_out = True, {}
    for found in (get_features(store, extractor_id, name) for extractor_id in extractor_ids):
        is_complete = is_complete and found is not None and all(_has(found, row) for row in ok)
        for row in ok if found else ():
            if found and (error := found.error(row["image_id"], row["sha256"], store.spec)):
                left_out[row["image_id"]] = row["key"], error
    return _Look(is_complete, left_out)


def _has(found: ShardFeatures, row: dict) -> bool:
    return found.place(row["image_id"], row["sha256"]) is not None


def _say_left_out(store: Store, looks: Iterable[_Look]) -> int:
    """How many images have no features; the first ones by name."""
    left_out = [item for look in looks for item in look.left_out.items()]
    for image_id, (key, reason) in left_out[:_MOST_NAMED]:
        print(f"left out: image {image_id} ({store.describe(key)}): {reason}")
    if left_out:
        unnamed = max(0, len(left_out) - _MOST_NAMED)
        more = f" ({unnamed} are not named here)" if unnamed else ""
        print(f"{len(left_out)} images have no features and count in no figure{more}", flush=True)
    return len(left_out)


def _score(found: OpenedRun, names: Sequence[Shard], specs: Sequence[ExtractorSpec], engine: Engine) -> None:
    if not names:
        return
    print(f"{len(names)} shards to score with {', '.join(spec.name for spec in specs)}", flush=True)
    samples = found.info.num_images_per_prompt
    view = ProgressView(sum(name.stop - name.start for name in names) * samples, verb="scoring")
    with view:
        dispatcher = engine.dispatcher(FeatureWorkerSpec(tuple(specs), found.store.spec))
        dispatcher.run((FeatureTask(name) for name in names), view.listen)
    for task, reason in view.summary.failed_shards[:1]:
        left = len(view.summary.failed_shards)
        raise TryAgain(f"{left} shards could not be scored; {task_name(task)}: {reason}; the same command goes on")
