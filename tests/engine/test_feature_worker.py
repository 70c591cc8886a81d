"""Features of committed shards, on real stores."""

from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.records import OK
from darkroom.engine.feature_worker import FeatureWorkerSpec
from darkroom.engine.tasks import FeatureTask
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import load_extractor
from darkroom.runs import manifest
from darkroom.runs.encoding import decode
from darkroom.runs.features import get_features
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
def test_a_shard_without_an_image_has_features_of_none(tmp_path: Path) -> None:
    spec = rendered(tmp_path, ["fail alone"])
    store = open_store(spec)
    [name] = manifest.committed(store)
    FeatureWorkerSpec((PIXELS,), spec)().run_task(FeatureTask(name), 1)
    found = get_features(store, load_extractor(PIXELS).info.extractor_id, name).images
    assert found.image_ids == ()
    assert found.features.shape == (0, load_extractor(PIXELS).info.dimension)
