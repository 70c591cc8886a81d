"""References that Darkroom makes: another run's committed images, with its features where it has some, and drawings."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.demo.drawing import judge
from darkroom.demo.world import demo_prompts, demo_scenes, other_scenes
from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK
from darkroom.domain.settings import ModelRef
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import load_extractor
from darkroom.evaluation.reference import ReferenceSpec
from darkroom.evaluation.reference_generated import NUM_DRAWINGS, SEED, drawings
from darkroom.evaluation.reference_opening import open_reference
from darkroom.runs import manifest
from darkroom.runs.cells import CellInfo, add_cells
from darkroom.runs.encoding import decode
from darkroom.runs.features import ImageFeatures, ShardFeatures, put_features
from darkroom.runs.images import image_bytes
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.manifest import to_records
from darkroom.runs.reading import records
from darkroom.runs.run import create_or_check
from darkroom.storage.store import Store, open_store, parse_spec
from tests.engine.helpers import CELL, SAMPLING, MakeMisbehaving, dataset, run_info, tasks
from tests.evaluation.references import PIXELS, Measuring

OTHER = replace(CELL, sampling=replace(SAMPLING, guidance_scale=9.0))


def rendered(place: str, endpoint_url: str | None = None, layout: str = "files", cells: int = 1) -> Store:
    """A run of ten prompts in shards of four, one of which fails; `cells` of them described, one rendered."""
    store = open_store(parse_spec(place, endpoint_url))
    prompts = dataset([f"p{number}" for number in range(9)] + ["fail alone"])
    run = run_info(prompts, layout=layout)
    create_or_check(store, run)
    add_cells(store, {cell.cell_id: CellInfo(ModelRef("paint"), cell) for cell in (CELL, OTHER)[:cells]})
    worker = MakeMisbehaving(run, store.spec)()
    for task in tasks(run, prompts, store):
        worker.run_task(task, 1)
    return store


def pixels_of(store: Store) -> dict[str, np.ndarray]:
    """SHA-256 of each committed image -> its features."""
    files = [image_bytes(store, record) for record in records(store) if record.status == OK]
    rows = load_extractor(PIXELS).features([decode(data) for data in files])
    return {hashlib.sha256(data).hexdigest(): row for data, row in zip(files, rows, strict=True)}


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_committed_images_are_measured(tmp_path: Path, measure: Measuring, layout: str) -> None:
    expected = pixels_of(rendered(str(tmp_path / "run"), layout=layout))
    found = measure(tmp_path / "run")
    assert list(found.ids) == sorted(expected)
    assert found.gaussian.count == 9
    np.testing.assert_array_equal(found.features, [expected[image_id] for image_id in found.ids])
    again = Measuring(tmp_path / "cache")
    assert again(tmp_path / "run").digest == found.digest
    assert again.num_loaded == 0


@pytest.mark.slow
def test_a_run_in_a_bucket_is_measured(s3_endpoint: str, measure: Measuring) -> None:
    store = rendered("s3://bucket/reference-run", s3_endpoint)
    assert set(measure("s3://bucket/reference-run", s3_endpoint).ids) == set(pixels_of(store))


def _put_features(
    store: Store, extractor_id: str, value: float, leave_out: int = 0, of: str | None = None, error: str = ""
) -> None:
    """Features that no extractor would give, so that one can tell where they came from; of the first shard alone."""
    name = next(iter(manifest.committed(store)))
    ok = to_records(manifest.read(store, name))[leave_out:][::-1]
    rows = value + np.arange(len(ok), dtype=np.float32)[:, None] + np.zeros((1, 192), np.float32)
    images = ImageFeatures(tuple(record.image_id for record in ok), rows, rows[:, 0], rows[:, 0] < 0)
    digests = tuple(of or str(record.sha256) for record in ok)
    put_features(store, extractor_id, name, ShardFeatures(images, digests, tuple(error for _ in ok)))


@pytest.mark.slow
def test_features_that_lie_beside_the_run_are_taken(tmp_path: Path, measure: Measuring) -> None:
    store = rendered(str(tmp_path / "run"))
    _put_features(store, measure.info.extractor_id, 1000.0, leave_out=0)
    before = sorted(info.key for info in store.list())
    found = measure(tmp_path / "run")
    assert found.features is not None
    assert sorted(found.features[:, 0][found.features[:, 0] >= 1000]) == [1000, 1001, 1002, 1003]
    first = next(record for record in records(store) if record.row == 0)
    assert found.features[found.ids.index(str(first.sha256)), 0] == 1003  # by name, not by place
    assert measure.num_pictures == 5
    assert sorted(info.key for info in store.list()) == before


@pytest.mark.slow
@pytest.mark.parametrize("lack", [{"leave_out": 1}, {"of": "0" * 64}, {"error": "RuntimeError: out of luck"}])
def test_features_that_lack_an_image_are_made_anew(tmp_path: Path, measure: Measuring, lack: dict) -> None:
    store = rendered(str(tmp_path / "run"))
    _put_features(store, measure.info.extractor_id, 1000.0, **lack)
    found = measure(tmp_path / "run")
    assert found.features is not None
    assert found.features.max() <= 1
    assert measure.num_pictures == 9


@pytest.mark.slow
def test_of_several_cells_one_must_be_named(tmp_path: Path, measure: Measuring) -> None:
    expected = pixels_of(rendered(str(tmp_path / "run"), cells=2))
    one, other = CELL.cell_id, OTHER.cell_id
    with pytest.raises(DarkroomError, match=r"the run has 2 cells; write .*/run#<cell_id> with one of ") as caught:
        measure(tmp_path / "run")
    assert f"{one} (sampling.guidance_scale=5.0)" in str(caught.value)
    assert f"{other} (sampling.guidance_scale=9.0)" in str(caught.value)
    assert set(measure(f"{tmp_path}/run#{one}").ids) == set(expected)
    with pytest.raises(DarkroomError, match=f"cell {other} has no committed images yet"):
        measure(f"{tmp_path}/run#{other}")
    with pytest.raises(DarkroomError, match=r"the run has no cell 1234; write .*/run#<cell_id> with one of"):
        measure(f"{tmp_path}/run#1234")


@pytest.mark.slow
def test_a_folder_whose_name_has_the_sign_is_that_folder(tmp_path: Path) -> None:
    rendered(str(tmp_path / "run#2"))
    reference = open_reference(ReferenceSpec(str(tmp_path / "run#2")))
    assert (reference.kind, reference.num_images) == ("run", None)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda path: path.unlink(),
            "an image that is committed is missing; bring it back with `.*darkroom repair run=/",
        ),
        (
            lambda path: path.write_bytes(b"other"),
            r"not the bytes that were committed; bring them back with `.*darkroom repair run=/.*/run`",
        ),
    ],
)
def test_a_damaged_run_is_refused(tmp_path: Path, measure: Measuring, spoil, message: str) -> None:
    rendered(str(tmp_path / "run"))
    spoil(sorted((tmp_path / "run" / "images").rglob("*.png"))[4])
    with pytest.raises(DarkroomError, match=message):
        measure(tmp_path / "run")


@pytest.mark.slow
def test_drawings_show_the_world_and_no_prompts_picture() -> None:
    prompts = {picture for scene in demo_scenes() for picture in (scene, scene.mirrored)}
    assert {scene.caption() for scene in demo_scenes()} == {row["prompt"] for row in demo_prompts()}
    scenes = other_scenes(SEED, NUM_DRAWINGS)
    assert len({frozenset((scene, scene.mirrored)) for scene in scenes}) == NUM_DRAWINGS
    assert not prompts.intersection(scenes)
    assert sum(not scene.second for scene in scenes) / NUM_DRAWINGS == pytest.approx(20 / 64)
    for picture, scene in list(zip(drawings(), scenes, strict=True))[::40]:
        assert judge(picture, scene).everything


@pytest.mark.slow
def test_the_embedded_model_is_measured_against_them(tmp_path: Path) -> None:
    spec = ExtractorSpec("demo_clip", batch_size=128)
    first, second = (Measuring(tmp_path / "cache", spec) for _ in range(2))
    found = first("demo")
    assert found.features is not None
    assert found.features.shape == (NUM_DRAWINGS, first.info.dimension)
    assert np.linalg.matrix_rank(found.gaussian.covariance) == first.info.dimension
    assert len(set(found.ids)) == NUM_DRAWINGS
    again = second("demo")
    assert (again.digest, again.ids, second.num_loaded) == (found.digest, found.ids, 0)
    np.testing.assert_array_equal(again.features, found.features)
