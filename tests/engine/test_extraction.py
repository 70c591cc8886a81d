"""Features that are made while pixels are in memory are those of the stored images."""

import threading
from pathlib import Path

import numpy as np
import pytest

from darkroom.engine.extraction import Picture, extract
from darkroom.engine.feature_worker import FeatureWorker
from darkroom.engine.tasks import FeatureTask
from darkroom.evaluation.extractor import Extractor, ExtractorSpec
from darkroom.evaluation.opening import load_extractor
from darkroom.rendering.renderer import FatalDeviceError
from darkroom.runs import manifest
from darkroom.runs.encoding import IMAGE_FORMATS
from darkroom.runs.features import ExtractorInfo, features_key, from_bytes, get_features
from darkroom.runs.files import manifest_key
from darkroom.runs.layouts import LAYOUTS
from darkroom.storage.store import open_store, parse_spec
from tests.engine.helpers import Misbehaving, dataset, run_info, tasks, worker

SPECS = (ExtractorSpec("demo_clip"), ExtractorSpec("pixels"))


@pytest.fixture(scope="module")
def extractors() -> list[Extractor]:
    return [load_extractor(spec) for spec in SPECS]


@pytest.mark.slow
@pytest.mark.parametrize("image_format", IMAGE_FORMATS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_inline_features_are_those_of_the_stored_images(
    tmp_path: Path, layout: str, image_format: str, extractors: list[Extractor]
) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    data = dataset([f"a {word} circle" for word in "abcdefgh"] + ["fail alone"])
    run = run_info(data, shard_size=6, layout=layout, images=7, image_format=image_format)
    renderer = worker(run, Misbehaving(), store, extractors)
    for task in tasks(run, data, store):
        renderer.run_task(task, 1)
    later = FeatureWorker(lambda: extractors, store)
    for shard in list(manifest.committed(store)):
        keys = [features_key(extractor.info.extractor_id, shard) for extractor in extractors]
        inline = [store.get(key) for key in keys]
        assert all(len(from_bytes(found).images.image_ids) > 0 for found in inline)
        store.delete(keys)
        later.run_task(FeatureTask(shard), 1)
        assert [store.get(key) for key in keys] == inline


@pytest.mark.slow
def test_an_image_that_is_too_large_to_be_read_costs_its_own_features_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, data = open_store(parse_spec(str(tmp_path))), dataset(["a", "b", "c"], width=[16, 32, 16])
    run = run_info(data, image_format="jpeg")
    [task] = tasks(run, data, store)
    monkeypatch.setattr("darkroom.runs.encoding.MAX_PIXELS", 16 * 16)
    extractor = load_extractor(SPECS[1])
    assert worker(run, Misbehaving(), store, [extractor]).run_task(task, 1).num_ok == 3
    [name] = manifest.committed(store)
    inline = store.get(features_key(extractor.info.extractor_id, name))
    assert [bool(error) for error in from_bytes(inline).errors] == [False, True, False]
    store.delete([features_key(extractor.info.extractor_id, name)])
    FeatureWorker(lambda: [extractor], store).run_task(FeatureTask(name), 1)
    assert store.get(features_key(extractor.info.extractor_id, name)) == inline


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_picture_that_an_extractor_fails_on_costs_its_own_features_alone(tmp_path: Path, layout: str) -> None:
    store, data = open_store(parse_spec(str(tmp_path))), dataset(["a", "b unlucky", "c", "d nowhere", "e quits"])
    run = run_info(data, shard_size=8, layout=layout)
    [task] = tasks(run, data, store)
    scorer = Choosy()
    report = worker(run, Misbehaving(), store, [scorer, load_extractor(SPECS[1])]).run_task(task, 1)
    assert (report.num_ok, report.num_failed) == (5, 0)
    [name] = manifest.committed(store)
    found = get_features(store, scorer.info.extractor_id, name)
    assert found.errors == (
        "",
        "RuntimeError: out of luck",
        "",
        "its features are not finite numbers",
        "SystemExit: bye",
    )
    assert np.isfinite(found.images.features[:, 0]).tolist() == [True, False, True, False, False]
    assert not any(get_features(store, load_extractor(SPECS[1]).info.extractor_id, name).errors)


@pytest.mark.slow
def test_a_lost_device_is_no_pictures_fault(tmp_path: Path) -> None:
    store, data = open_store(parse_spec(str(tmp_path))), dataset(["a", "b break the device"])
    run = run_info(data)
    [task] = tasks(run, data, store)
    with pytest.raises(FatalDeviceError, match="CUDA error"):
        worker(run, Misbehaving(), store, [Choosy()]).run_task(task, 1)
    assert not list(manifest.committed(store))


@pytest.mark.slow
def test_the_device_does_not_wait_for_a_scorer_in_a_process_of_its_own(tmp_path: Path) -> None:
    store, data = open_store(parse_spec(str(tmp_path))), dataset([f"p{number}" for number in range(40)])
    run = run_info(data, shard_size=40)
    [task] = tasks(run, data, store)
    scorer = Patient()
    report = worker(run, Counting(scorer.is_rendered), store, [scorer, load_extractor(SPECS[1])]).run_task(task, 1)
    assert (report.num_ok, report.num_failed) == (40, 0)
    [name] = manifest.committed(store)
    found = get_features(store, scorer.info.extractor_id, name)
    assert found.images.features[:, 0].tolist() == [1.0] * 40
    assert len(get_features(store, load_extractor(SPECS[1]).info.extractor_id, name).image_ids) == 40


class Counting(Misbehaving):
    """Sets the event once it has rendered ten batches."""

    def __init__(self, done: threading.Event) -> None:
        super().__init__()
        self._done, self._count = done, 0

    def render(self, requests):
        self._count += 1
        if self._count == 10:
            self._done.set()
        return super().render(requests)


class Patient:
    """Scores once all is rendered."""

    info = ExtractorInfo("patient", "none", "none", 1, is_scorer=True)

    def __init__(self) -> None:
        self.is_rendered = threading.Event()

    def start(self) -> None:
        pass

    def scores(self, pictures, captions):
        return np.full(len(pictures), self.is_rendered.wait(20), np.float32)


class Choosy:
    """Scores pictures by their prompts' lengths, and not all."""

    info = ExtractorInfo("choosy", "none", "none", 1, is_scorer=True)

    def scores(self, pictures, captions):
        if any("unlucky" in caption for caption in captions):
            raise RuntimeError("out of luck")
        if any("quits" in caption for caption in captions):
            raise SystemExit("bye")
        if any("break the device" in caption for caption in captions):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return np.array([np.inf if "nowhere" in caption else len(caption) for caption in captions], np.float32)


@pytest.mark.slow
def test_an_adopted_image_has_features_since_its_bytes_are_equal(tmp_path: Path) -> None:
    store, data = open_store(parse_spec(str(tmp_path))), dataset(["a", "b"])
    run = run_info(data)
    [task] = tasks(run, data, store)
    worker(run, Misbehaving(), store).run_task(task, 1)
    [name] = manifest.committed(store)
    store.delete([manifest_key(name)])  # as if the first attempt had died before its commit
    extractor = load_extractor(SPECS[1])
    worker(run, Misbehaving(), store, [extractor]).run_task(task, 2)
    assert len(get_features(store, extractor.info.extractor_id, name).images.image_ids) == 2


class Told:
    """Answers what it is told to."""

    info = ExtractorInfo("told", "none", "none", 1, is_scorer=True)

    def __init__(self, *answers) -> None:
        self._answers = answers

    def row_scores(self, pictures, rows):
        return [*self._answers][: len(pictures)]


def test_what_a_scorer_of_rows_answers_is_a_finite_number_for_each_picture() -> None:
    two = [Picture(name, "", np.zeros((8, 8, 3), np.uint8)) for name in "ab"]
    for wrong in (np.inf, np.nan):
        found = extract(Told({"score": wrong}, {"score": None}), two)
        assert found.errors == ("its scores are not finite numbers", "")
    found = extract(Told(), two)
    assert found.errors == ("ValueError: told gave 0 answers for 1 pictures",) * 2
