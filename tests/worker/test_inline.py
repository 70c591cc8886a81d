"""Scoring while pixels are in memory gives what scoring the stored images gives."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.features.opening import load_extractor
from pipeline.features.spec import ExtractorSpec
from pipeline.runs import manifest
from pipeline.runs.features import features_key, get_features
from pipeline.scoring.spec import ScorerSpec
from pipeline.storage.opening import open_store
from pipeline.storage.store import parse_spec
from pipeline.worker.layouts import LAYOUTS
from pipeline.worker.tasks import ScoreTask
from tests.worker.helpers import Misbehaving, dataset, run_info, tasks, worker

SPECS = (ExtractorSpec("demo_clip"), ExtractorSpec("pixels"))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_inline_features_are_those_of_the_stored_images(tmp_path: Path, layout: str) -> None:
    spec = parse_spec(str(tmp_path))
    store, data = open_store(spec), dataset([f"a {word} circle" for word in "abcdefgh"] + ["fail alone"])
    extractors = [load_extractor(spec) for spec in SPECS]
    run = run_info(data, shard_size=6, layout=layout, images=7)
    renderer = worker(run, Misbehaving(), store, extractors)
    for task in tasks(run, data, store):
        renderer.run_task(task, 1)
    names = list(manifest.committed(store))
    scorer = ScorerSpec(SPECS, spec)()
    for name in names:
        for extractor in extractors:
            inline = get_features(store, extractor.info.extractor_id, name)
            store.delete([features_key(extractor.info.extractor_id, name)])
            scorer.run_task(ScoreTask(name), 1)
            later = get_features(store, extractor.info.extractor_id, name)
            order = [inline.image_ids.index(image_id) for image_id in later.image_ids]
            assert len(order) == len(inline.image_ids) > 0
            np.testing.assert_array_equal(inline.features[order], later.features)
            np.testing.assert_array_equal(inline.cosines[order], later.cosines)


def test_an_adopted_image_is_scored_since_its_bytes_are_equal(tmp_path: Path) -> None:
    store, data = open_store(parse_spec(str(tmp_path))), dataset(["a", "b"])
    run = run_info(data)
    [task] = tasks(run, data, store)
    worker(run, Misbehaving(), store).run_task(task, 1)
    [name] = manifest.committed(store)
    store.delete([name.key])  # as if the first attempt had died before its commit
    extractor = load_extractor(SPECS[1])
    worker(run, Misbehaving(), store, [extractor]).run_task(task, 2)
    assert len(get_features(store, extractor.info.extractor_id, name).image_ids) == 2
