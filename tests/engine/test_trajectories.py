"""Trajectories on their way through a worker: of the first rows' first images, before the manifest, in every layout."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.api.maintenance import named_keys
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest, Record
from darkroom.domain.trajectories import FINISHED, TrajectoryStep, parse_steps
from darkroom.engine.tasks import RetryTask
from darkroom.rendering.renderer import RenderedImage, Trajectory
from darkroom.runs import manifest
from darkroom.runs.encoding import decode
from darkroom.runs.files import TRAJECTORIES_PREFIX, manifest_key
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import num_stored, records
from darkroom.runs.run import RunInfo, create_or_check
from darkroom.runs.trajectories import recorded_trajectories, stored_trajectories
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import CELL, Misbehaving, dataset, run_info, tasks, worker

PROMPTS = ["one", "two", "fail once", "four", "five", "six"]
STEPS = (TrajectoryStep(1, 981.0, 14.0, 0.07, 0.99), FINISHED)


class Forming(Misbehaving):
    """Paints, and tells how the pictures formed that it is asked of."""

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return [self._told(*each) for each in zip(requests, super().render(requests), strict=True)]

    def _told(self, request: ImageRequest, image: RenderedImage) -> RenderedImage:
        if request.trajectory is None or image.pixels is None:
            return image
        assert request.trajectory == (1,)
        row = np.concatenate([np.full_like(image.pixels, request.seed % 251), image.pixels], axis=1)
        return replace(image, trajectory=Trajectory(np.concatenate([row, row]), STEPS))


def render(folder: Path, layout: str = "files", num_prompts: int | None = 3, images: int = 2) -> tuple[Store, RunInfo]:
    store, data = open_store(parse_spec(str(folder / "run"))), dataset(PROMPTS)
    info = run_info(data, layout=layout, images=images)
    steps = (1,) if num_prompts else None
    info = replace(info, output=replace(info.output, trajectory_prompts=num_prompts, trajectory_steps=steps))
    made = worker(info, Forming(flag=str(folder / "flag")), store)
    for task in tasks(info, data, store):
        made.run_task(task, 1)
    made.close()
    return store, info


def with_trajectory(store: Store) -> list[Record]:
    return [record for record in records(store) if record.trajectory_key]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_first_images_of_the_first_rows_have_one(tmp_path: Path, layout: str) -> None:
    store, info = render(tmp_path, layout)
    found = with_trajectory(store)
    assert [(record.row, record.sample_index) for record in found] == [(0, 0), (1, 0)]  # of the third there is no image
    for record in found:
        data = store.get(record.trajectory_key or "")
        assert (record.trajectory_sha256, record.trajectory_bytes) == (hashlib.sha256(data).hexdigest(), len(data))
        assert parse_steps(record.trajectory_steps or "") == STEPS
        assert decode(data).shape == (32, 32, 3)
    keys = {info.key for info in store.list(TRAJECTORIES_PREFIX)}
    assert keys == {record.trajectory_key for record in found} <= named_keys(store)[0]
    assert [item.fault for item in stored_trajectories(store, recorded_trajectories(store, info))] == [None] * 2


def test_a_retry_gives_the_failed_image_its_own(tmp_path: Path) -> None:
    store, info = render(tmp_path)
    [shard] = [shard for shard in manifest.committed(store) if shard.start == 0]
    retrying = worker(info, Forming(flag=str(tmp_path / "flag")), store)
    retrying.run_task(RetryTask(shard, CELL), 1)
    retrying.close()
    assert [(record.row, record.sample_index) for record in with_trajectory(store)] == [(0, 0), (1, 0), (2, 0)]
    assert len(list(store.list(TRAJECTORIES_PREFIX))) == 3


def test_a_shard_that_lost_its_manifest_adopts_what_is_there(tmp_path: Path) -> None:
    store, _ = render(tmp_path)
    before = {each.key: store.get(each.key) for each in store.list(TRAJECTORIES_PREFIX)}
    store.put(sorted(before)[0], b"of an attempt that broke off")
    store.delete([manifest_key(shard) for shard in manifest.committed(store)])
    render(tmp_path)
    found = {each.key: store.get(each.key) for each in store.list(TRAJECTORIES_PREFIX)}
    assert set(before.values()) <= set(found.values())
    assert set(found) == {record.trajectory_key for record in with_trajectory(store)}


def test_without_them_nothing_is_stored_and_with_them_their_bytes_count(tmp_path: Path) -> None:
    plain, _ = render(tmp_path / "plain", num_prompts=None)
    formed, _ = render(tmp_path / "formed")
    assert not list(plain.list(TRAJECTORIES_PREFIX))
    assert [record.image_id for record in records(plain)] == [record.image_id for record in records(formed)]
    tables = [[manifest.read(store, shard) for shard in manifest.committed(store)] for store in (plain, formed)]
    sizes = [sum(num_stored(table) for table in each) for each in tables]
    assert sizes[1] - sizes[0] == sum(record.trajectory_bytes or 0 for record in with_trajectory(formed))


def test_a_run_has_them_from_its_start_or_not_at_all(tmp_path: Path) -> None:
    plain = run_info(dataset(PROMPTS))
    formed = replace(plain, output=replace(plain.output, trajectory_prompts=4, trajectory_steps=(1, 9)))
    for place, (there, here) in {"one": (plain, formed), "other": (formed, plain)}.items():
        store = open_store(parse_spec(str(tmp_path / place)))
        assert create_or_check(store, there) == create_or_check(store, there) == there
        with pytest.raises(
            DarkroomError, match=r"output\.trajectory is '.*' in this run and '.*' in the command; go on"
        ):
            create_or_check(store, here)
