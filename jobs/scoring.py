"""Makes the features that an evaluation needs, on the engine that was asked for."""

from collections.abc import Sequence

from jobs.engine import Engine
from jobs.progress import ProgressView
from jobs.runs import OpenedRun
from pipeline.domain.errors import DarkroomError, TryAgain
from pipeline.domain.records import OK
from pipeline.features.spec import ExtractorSpec
from pipeline.runs import manifest
from pipeline.runs.features import get_features, scored_shards
from pipeline.runs.keys import ManifestName
from pipeline.scoring.spec import ScorerSpec
from pipeline.worker.tasks import ScoreTask, task_name


def score(found: OpenedRun, specs: Sequence[ExtractorSpec], extractor_ids: Sequence[str], engine: Engine) -> None:
    """Score every committed shard that has no features yet, or none of images that `retry` made later."""
    names = list(manifest.committed(found.store))
    if not names:
        raise DarkroomError(f"{found.store.describe()}: no shard is committed; render it first")
    _score(found, _unscored(found, names, extractor_ids), specs, engine)
    stale = [name for name in names if any(_is_stale(found, name, extractor_id) for extractor_id in extractor_ids)]
    _score(found, stale, specs, engine)


def _unscored(found: OpenedRun, names: Sequence[ManifestName], extractor_ids: Sequence[str]) -> list[ManifestName]:
    done = [scored_shards(found.store, extractor_id) for extractor_id in extractor_ids]
    return [name for name in names if not all(name.key in keys for keys in done)]


def _is_stale(found: OpenedRun, name: ManifestName, extractor_id: str) -> bool:
    features = get_features(found.store, extractor_id, name)
    table = manifest.read(found.store, name, ["image_id", "status"])
    columns = table["image_id"].to_pylist(), table["status"].to_pylist()
    ok = {image_id for image_id, status in zip(*columns, strict=True) if status == OK}
    return features is None or set(features.image_ids) != ok


def _score(found: OpenedRun, names: Sequence[ManifestName], specs: Sequence[ExtractorSpec], engine: Engine) -> None:
    if not names:
        return
    print(f"{len(names)} shards to score with {', '.join(spec.name for spec in specs)}", flush=True)
    samples = found.info.num_images_per_prompt
    view = ProgressView(sum(name.stop - name.start for name in names) * samples, verb="scoring")
    with view:
        dispatcher = engine.dispatcher(ScorerSpec(tuple(specs), found.store.spec))
        dispatcher.run((ScoreTask(name) for name in names), view.listen)
    for task, reason in view.summary.failed_shards[:1]:
        left = len(view.summary.failed_shards)
        raise TryAgain(f"{left} shards could not be scored; {task_name(task)}: {reason}; the same command goes on")
