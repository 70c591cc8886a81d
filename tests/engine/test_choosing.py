"""Policies on the worker: which images are committed, and what their records say."""

import json
import uuid
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.domain.errors import EndsRun
from darkroom.domain.policy import DROP, KEEP, REGENERATE, Best, Policy, PolicyFigure, Rule, read_rejected
from darkroom.domain.records import FAILED, FILTERED, OK, ImageRequest, Record
from darkroom.engine.tasks import RetryTask
from darkroom.evaluation.sharpness import Sharpness
from darkroom.rendering.renderer import PaintRenderer, RenderedImage, Renderer
from darkroom.runs import manifest
from darkroom.runs.features import get_features
from darkroom.runs.files import IMAGES_PREFIX
from darkroom.runs.images import image_bytes
from darkroom.runs.reading import records
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import CELL, dataset, run_info, tasks
from tests.engine.helpers import worker as make_worker

FIGURE = PolicyFigure("sharpness.score", Sharpness.info.extractor_id, 0)
PROMPTS = [f"p{number}" for number in range(6)]
NUM_IMAGES = 2


def policy(*rules: Rule, best: Best | None = None) -> Policy:
    return Policy(rules, best, (FIGURE,), ('"darkroom.evaluation.sharpness:make"',))


def rule(then: str, **given: object) -> Rule:
    """Which about half of the painter's pictures break."""
    return Rule(FIGURE.name, then, above=40_000.0, **given)  # type: ignore[arg-type]


REGENERATED = policy(rule(REGENERATE, attempts=3))
CHOSEN = policy(rule(REGENERATE, attempts=2), best=Best(2, 4, FIGURE.name, True))


class Failing(Sharpness):
    """Fails on every picture."""

    def scores(self, pictures: Sequence[np.ndarray], _captions: Sequence[str]) -> np.ndarray:
        raise ValueError("no face in it")


def render(
    store: Store,
    wanted: Policy | None,
    prompts: Sequence[str] = PROMPTS,
    layout: str = "files",
    shard_size: int = 4,
    scorer: Sharpness | None = None,
    renderer: Renderer | None = None,
) -> list[Record]:
    rows = dataset(prompts)
    run = replace(run_info(rows, shard_size, layout, NUM_IMAGES), policy=wanted)
    worker = make_worker(run, renderer or PaintRenderer(4), store, [scorer or Sharpness()])
    try:
        for task in tasks(run, rows, store):
            worker.run_task(task, 1)
    finally:
        worker.close()
    return sorted(records(store), key=lambda record: record.row)


def at(path: Path) -> Store:
    return open_store(parse_spec(str(path)))


def decided(found: Sequence[Record]) -> list[tuple[object, ...]]:
    return [
        (each.image_id, each.status, each.sha256, each.error, each.policy_scores, each.policy_reason, rejected(each))
        for each in found
    ]


def rejected(record: Record) -> list[tuple[int, str, object]]:
    return [(each.sample_index, each.reason, each.scores) for each in read_rejected(record.policy_rejected)]


@pytest.mark.parametrize("wanted", [REGENERATED, CHOSEN], ids=["regenerate", "best"])
def test_decisions_depend_on_nothing_but_the_row(tmp_path: Path, wanted: Policy, s3_endpoint: str) -> None:
    one = render(at(tmp_path / "one"), wanted, shard_size=1, renderer=PaintRenderer(3))
    there = open_store(parse_spec(f"s3://bucket/{uuid.uuid4().hex}", s3_endpoint))
    other = render(there, wanted, shard_size=6, layout="webdataset")
    assert decided(one) == decided(other)
    assert len({each.image_id for each in one}) == NUM_IMAGES * len(PROMPTS)


def test_regenerated_images_take_the_samples_after_those_of_all_places(tmp_path: Path) -> None:
    for place, record in enumerate(render(at(tmp_path), REGENERATED)):
        slot, tried = place % NUM_IMAGES, [index for index, _, _ in rejected(record)]
        wanted = [slot + attempt * NUM_IMAGES for attempt in range(3)]
        if record.status == OK:
            assert [*tried, record.sample_index] == wanted[: len(tried) + 1]
            assert json.loads(record.policy_scores or "")[FIGURE.name] <= 40_000
        else:
            assert (record.status, tried, record.error) == (FILTERED, wanted, "sharpness.score above 40000")
        assert all(scores[FIGURE.name] > 40_000 for _, _, scores in rejected(record))  # type: ignore[index]


def test_a_dropped_image_is_nowhere(tmp_path: Path) -> None:
    store = at(tmp_path)
    found, plain = render(store, policy(rule(DROP))), render(at(tmp_path / "plain"), None)
    kept = [record for record in found if record.status == OK]
    assert {record.status for record in found} == {OK, FILTERED}
    assert [(record.image_id, record.seed) for record in found] == [(each.image_id, each.seed) for each in plain]
    assert all(record.key is None and record.sha256 is None for record in found if record.status != OK)
    assert sorted(info.key for info in store.list(IMAGES_PREFIX)) == sorted(str(record.key) for record in kept)
    for shard in manifest.committed(store):
        features = get_features(store, FIGURE.extractor_id, shard)
        assert features
        assert set(features.image_ids) == {each.image_id for each in kept if each.shard_id == shard.shard_id}


def test_what_is_kept_anyway_says_why_it_might_not_have_been(tmp_path: Path) -> None:
    found = render(at(tmp_path / "noted"), policy(rule(KEEP)))
    marked = [json.loads(each.policy_scores or "")[FIGURE.name] > 40_000 for each in found]
    assert {True, False} == set(marked)
    assert {each.status for each in found} == {OK}
    assert [each.policy_reason is not None for each in found] == marked
    never = policy(Rule(FIGURE.name, REGENERATE, above=-1.0, attempts=3, otherwise=KEEP))
    for record in render(at(tmp_path / "never"), never):
        others = [scores[FIGURE.name] for _, _, scores in rejected(record)]  # type: ignore[index]
        assert len(others) == 2
        assert json.loads(record.policy_scores or "")[FIGURE.name] <= min(others)
        assert record.policy_reason == "sharpness.score above -1"


def test_the_best_of_several_are_kept_the_best_first(tmp_path: Path) -> None:
    best = Best(2, 4, FIGURE.name, higher_is_better=False)
    found = render(at(tmp_path), policy(best=best))
    for start in range(0, len(found), NUM_IMAGES):
        kept = found[start : start + NUM_IMAGES]
        scores = {each.sample_index: json.loads(each.policy_scores or "")[FIGURE.name] for each in kept}
        others = {index: scored[FIGURE.name] for index, _, scored in rejected(kept[0])}  # type: ignore[index]
        assert sorted([*scores, *others]) == [0, 1, 2, 3]
        assert not rejected(kept[1])
        assert list(scores.values()) == sorted(scores.values())
        assert max(scores.values()) <= min(others.values())


class Broken:
    """Fails at every image of a prompt."""

    def __init__(self) -> None:
        self._painter = PaintRenderer(4)
        self.info = self._painter.info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        failed = RenderedImage(None, error="broken")
        painted = self._painter.render(requests)
        return [failed if each.prompt == "p1" else image for each, image in zip(requests, painted, strict=True)]


@pytest.mark.parametrize("wanted", [REGENERATED, CHOSEN], ids=["regenerate", "best"])
def test_a_retry_decides_as_if_nothing_had_failed(tmp_path: Path, wanted: Policy) -> None:
    right, store = render(at(tmp_path / "right"), wanted), at(tmp_path / "run")
    before = render(store, wanted, renderer=Broken())
    assert [each.prompt for each in before if each.status == FAILED] == ["p1"] * NUM_IMAGES
    run = replace(run_info(dataset(PROMPTS), images=NUM_IMAGES), policy=wanted)
    worker = make_worker(run, PaintRenderer(4), store, [Sharpness()])
    for shard in list(manifest.committed(store)):
        worker.run_task(RetryTask(shard, CELL), 1)
    worker.close()
    after = sorted(records(store), key=lambda record: record.row)
    assert decided(after) == decided(right)
    assert all(image_bytes(store, each) for each in after if each.status == OK)


def test_nothing_is_chosen_where_an_image_failed(tmp_path: Path) -> None:
    """All places wait for a retry, so that what is kept does not depend on a failure."""

    class Once(Broken):
        def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
            painted, failed = self._painter.render(requests), RenderedImage(None, error="broken")
            return [failed if place in self.places else image for place, image in enumerate(painted)]

    for places in (0,), (0, 1, 2):
        renderer = Once()
        renderer.places = places
        store = at(tmp_path / str(len(places)))
        found = render(store, policy(best=Best(2, 4, FIGURE.name, True)), ["p"], renderer=renderer)
        assert [(each.status, each.error) for each in found] == [(FAILED, "broken")] * NUM_IMAGES
        assert not list(store.list(IMAGES_PREFIX))


def test_what_the_renderer_refuses_is_made_no_more(tmp_path: Path) -> None:
    class Refusing(Broken):
        def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
            return [RenderedImage(None, error="refused", is_filtered=True) for _ in requests]

    for wanted in (REGENERATED, CHOSEN):
        found = render(at(tmp_path / str(wanted.best)), wanted, ["p"], renderer=Refusing())
        assert [(each.status, each.error) for each in found] == [(FILTERED, "refused")] * NUM_IMAGES


def test_an_image_that_cannot_be_scored_is_not_committed_unseen(tmp_path: Path) -> None:
    store = at(tmp_path)
    found = render(store, REGENERATED, scorer=Failing())
    assert {each.status for each in found} == {FAILED}
    assert {each.error for each in found} == {"policy: sharpness.score: ValueError: no face in it"}
    assert not list(store.list(IMAGES_PREFIX))


def test_a_worker_that_stops_between_rounds_leaves_what_the_next_one_adopts(tmp_path: Path) -> None:
    right = render(at(tmp_path / "right"), CHOSEN)
    store = at(tmp_path / "run")

    class Stopping(Sharpness):
        num_calls = 0

        def scores(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
            self.num_calls += 1
            if self.num_calls == 3:
                raise EndsRun
            return super().scores(pictures, captions)

    with pytest.raises(EndsRun):
        render(store, CHOSEN, scorer=Stopping())
    assert decided(render(store, CHOSEN)) == decided(right)
