"""Features of committed shards, on real stores."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK
from darkroom.engine.feature_worker import FeatureWorker, FeatureWorkerSpec
from darkroom.engine.tasks import FeatureTask
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import load_extractor
from darkroom.evaluation.scorer_process import ScorerDied
from darkroom.runs import manifest
from darkroom.runs.encoding import decode
from darkroom.runs.features import ExtractorInfo, features_key, get_features
from darkroom.runs.images import with_bytes
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from darkroom.storage.store import StoreSpec, open_store, parse_spec
from tests.engine.helpers import Misbehaving, dataset, run_info, tasks, worker

PIXELS = ExtractorSpec("pixels", batch_size=4)
DEMO_CLIP = ExtractorSpec("demo_clip", batch_size=4)


def rendered(folder: Path, prompts: list[str], layout: str = "files") -> StoreSpec:
    spec = parse_spec(str(folder))
    store, data = open_store(spec), dataset(prompts)
    run = run_info(data, layout=layout)
    renderer = worker(run, Misbehaving(), store)
    for task in tasks(run, data, store):
        renderer.run_task(task, 1)
    renderer.close()
    return spec


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_stored_image_has_the_features_of_its_pixels(tmp_path: Path, layout: str) -> None:
    spec = rendered(tmp_path, ["a", "b fail alone", "c", "d", "e"], layout)
    store, extractor = open_store(spec), load_extractor(PIXELS)
    extraction = FeatureWorkerSpec((PIXELS,), spec)()
    names = list(manifest.committed(store))
    reports = [extraction.run_task(FeatureTask(name), 1) for name in names]
    assert sum(report.num_ok for report in reports) == 4
    found = [get_features(store, extractor.info.extractor_id, name) for name in names]
    parts = [part.images for part in found]
    stored = dict(row for part in parts for row in zip(part.image_ids, part.features, strict=True))
    assert {digest for part in found for digest in part.sha256s} == {record.sha256 for record in records(store)} - {
        None
    }
    assert not any(error for part in found for error in part.errors)
    ok = [record for record in records(store) if record.status == OK]
    assert set(stored) == {record.image_id for record in ok}
    for record, data in with_bytes(store, ok):
        np.testing.assert_array_equal(stored[record.image_id], extractor.features([decode(data)])[0])
    assert all(np.isnan(part.cosines).all() for part in parts)


@pytest.mark.slow
def test_cosines_pair_each_picture_with_its_own_prompt(tmp_path: Path) -> None:
    spec = rendered(tmp_path, ["a red circle", "a blue square", "a red circle"])
    store, extractor = open_store(spec), load_extractor(DEMO_CLIP)
    [name] = manifest.committed(store)
    FeatureWorkerSpec((DEMO_CLIP, PIXELS), spec)().run_task(FeatureTask(name), 1)
    found = get_features(store, extractor.info.extractor_id, name).images
    prompts = [record.prompt for record in records(store)]
    captions = extractor.caption_features(prompts)
    unit = found.features / np.linalg.norm(found.features, axis=1, keepdims=True)
    np.testing.assert_allclose(found.cosines, (unit * captions).sum(1), atol=1e-6)
    assert len(np.unique(found.cosines.round(5))) == 3
    assert not found.truncated.any()


@pytest.mark.slow
def test_a_scorer_is_told_the_columns_of_its_prompts_inline_and_later(tmp_path: Path) -> None:
    """Of any type that a prompt file brings: as JSON, with mixed values as they were, and null fields left out."""
    store = open_store(parse_spec(str(tmp_path)))
    tags = [[{"class": "cat", "count": 2}, {"class": "dog"}], None, [{"class": "cup", "colour": "red"}]]
    data = dataset(["a", "b", "c fail alone"], include=tags, day=[date(2026, 1, 2)] * 3, other=["x"] * 3)
    run = run_info(data, images=2)
    scorer = Told()
    renderer = worker(run, Misbehaving(), store, [scorer])
    [task] = tasks(run, data, store)
    renderer.run_task(task, 1)
    [name] = manifest.committed(store)
    key = features_key(scorer.info.extractor_id, name)
    inline, told = store.get(key), scorer.taken()
    store.delete([key])
    later = FeatureWorker(lambda: [scorer], store)
    later.run_task(FeatureTask(name), 1)
    assert store.get(key) == inline
    assert scorer.taken() == told
    later.close()
    assert scorer.is_closed
    assert [row["columns"] for row in told] == [
        {"include": each, "day": "2026-01-02"} for each in tags[:2] for _ in (0, 1)
    ]
    assert [(row["prompt"], row["sample_index"]) for row in told] == [("a", 0), ("a", 1), ("b", 0), ("b", 1)]
    assert len({row["image_id"] for row in told}) == 4
    found = get_features(store, scorer.info.extractor_id, name)
    np.testing.assert_array_equal(found.images.features[:, 0], [2, 2, np.nan, np.nan])
    assert found.errors == ("",) * 4


class Told:
    """A RowScorer that counts tags, and keeps what it is told."""

    info = ExtractorInfo("told", "none", "none", 1, is_scorer=True, columns=("include", "day"))
    is_closed = False

    def __init__(self) -> None:
        self._rows: list[dict] = []

    def taken(self) -> list[dict]:
        rows, self._rows = self._rows, []
        return sorted(rows, key=lambda row: (row["prompt"], row["sample_index"]))

    def row_scores(self, pictures, rows):
        self._rows += rows
        return [{"score": tags and len(tags)} for tags in (row["columns"]["include"] for row in rows)]

    def close(self) -> None:
        self.is_closed = True


@pytest.mark.slow
def test_an_image_that_a_scorer_died_of_is_tried_again_by_the_next_extraction(tmp_path: Path) -> None:
    spec = rendered(tmp_path, ["a", "b"])
    store, scorer = open_store(spec), Mortal()
    [name] = manifest.committed(store)
    found = []
    for _ in range(3):
        FeatureWorker(lambda: [scorer], store).run_task(FeatureTask(name), 1)
        found.append([error.partition(":")[0] for error in get_features(store, scorer.info.extractor_id, name).errors])
    assert found == [["", "ScorerDied"], ["", ""], ["", ""]]
    assert scorer.seen == ["a", "b", "a", "b", "b"]


class Mortal:
    """Dies of the prompt b until it is asked for it alone for the second time."""

    info = ExtractorInfo("mortal", "none", "none", 1, is_scorer=True)

    def __init__(self) -> None:
        self.seen: list[str] = []

    def row_scores(self, pictures, rows):
        self.seen += [row["prompt"] for row in rows]
        if "b" in self.seen[-len(rows) :] and self.seen.count("b") < 3:
            raise ScorerDied("out of memory")
        return [{"score": 1.0} for _ in rows]


@pytest.mark.slow
def test_a_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    spec = rendered(tmp_path, ["a"])
    [name] = manifest.committed(open_store(spec))
    with pytest.raises(DarkroomError, match="a scorer reads column 'include' of the prompts, and there is none; there"):
        FeatureWorker(lambda: [Told()], open_store(spec)).run_task(FeatureTask(name), 1)


@pytest.mark.slow
def test_a_shard_without_an_image_has_features_of_none(tmp_path: Path) -> None:
    spec = rendered(tmp_path, ["fail alone"])
    store = open_store(spec)
    [name] = manifest.committed(store)
    FeatureWorkerSpec((PIXELS,), spec)().run_task(FeatureTask(name), 1)
    found = get_features(store, load_extractor(PIXELS).info.extractor_id, name).images
    assert found.image_ids == ()
    assert found.features.shape == (0, load_extractor(PIXELS).info.dimension)
