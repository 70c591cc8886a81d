"""One contract for every extractor."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from darkroom.demo import CLIP_FOLDER
from darkroom.domain.errors import DarkroomError, WrongModel
from darkroom.domain.identity import digest
from darkroom.evaluation.extractor import CaptionExtractor, Extractor, ExtractorSpec
from darkroom.evaluation.opening import EXTRACTORS, inspect_extractor, load_extractor, pin_extractor
from darkroom.runs.features import ExtractorInfo

OF_IMAGES = [name for name in EXTRACTORS if not name.endswith("_frames")]  # others are the same ones, for videos


@pytest.fixture(params=OF_IMAGES, scope="module")
def spec(request: pytest.FixtureRequest, specs: dict[str, ExtractorSpec]) -> ExtractorSpec:
    return specs[request.param]


@pytest.fixture(scope="module")
def extractor(spec: ExtractorSpec) -> Extractor:
    return load_extractor(spec)


@pytest.mark.slow
def test_a_row_depends_on_its_picture_alone(extractor: Extractor, pictures) -> None:
    """Three pictures in batches of two: the third alone in its batch, then with another neighbour and place."""
    wanted = pictures(3)
    features = extractor.features(wanted)
    assert (features.shape, features.dtype) == ((3, extractor.info.dimension), np.float32)
    assert np.isfinite(features).all()
    np.testing.assert_array_equal(extractor.features([wanted[2], wanted[0]]), features[[2, 0]])
    assert min(np.abs(features[0] - features[n]).max() for n in (1, 2)) > 1e-3
    assert extractor.features([]).shape == (0, extractor.info.dimension)


@pytest.mark.slow
def test_what_is_inspected_is_what_is_loaded(extractor: Extractor, spec: ExtractorSpec) -> None:
    info = inspect_extractor(pickle.loads(pickle.dumps(spec)))
    assert info == extractor.info
    assert info.name == spec.name
    assert info.weights == "none" if spec.name == "pixels" else info.weights.startswith("sha256:")


def test_an_id_is_a_digest_of_name_weights_and_resize() -> None:
    info = ExtractorInfo("clip", "sha256:00", "tf1", 4)
    assert info.extractor_id == digest("extractor", "clip", "sha256:00", "tf1", length=16)
    others = [replace(info, name="x"), replace(info, weights="x"), replace(info, resize="x")]
    assert len({other.extractor_id for other in [info, *others]}) == 4


def test_pixels_are_area_means() -> None:
    picture = np.zeros((16, 24, 3), np.uint8)
    picture[:2, :3, 0] = 255
    picture[14:, :, 2] = [[51], [153]]
    features = load_extractor(ExtractorSpec("pixels")).features([picture]).reshape(3, 8, 8)
    assert features[0, 0, 0] == 1
    assert features[0].sum() == 1
    np.testing.assert_allclose(features[2, 7], 0.4, atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (ExtractorSpec("resnet"), "resnet is not known; use one of demo_clip, clip"),
        (ExtractorSpec(batch_size=0), "batch_size=0"),
        (ExtractorSpec("pixels", source="x"), "source=x means nothing"),
        (ExtractorSpec("demo_clip", source="x"), "name the extractor clip"),
        (ExtractorSpec("clip"), "no source"),
        (ExtractorSpec("dinov2", "./nowhere"), "no such folder"),
        (ExtractorSpec("inception_v3", "./nowhere.pth"), "no such file; download https"),
        (ExtractorSpec("inception_v3", resize="nearest"), "resize=nearest is not known"),
    ],
)
def test_a_spec_that_cannot_be_is_refused_before_anything_is_loaded(spec: ExtractorSpec, words: str) -> None:
    for opening in (inspect_extractor, load_extractor):
        with pytest.raises(DarkroomError, match=words) as caught:
            opening(spec)
        assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_some_extractors_read_captions(specs: dict[str, ExtractorSpec]) -> None:
    clip = load_extractor(specs["demo_clip"])
    assert isinstance(clip, CaptionExtractor)
    assert clip.caption_features(["a red circle"]).shape == (1, 64)
    assert not isinstance(load_extractor(specs["pixels"]), CaptionExtractor)


def test_a_worker_that_finds_another_extractor_refuses_it(tmp_path: Path) -> None:
    """Another file's bytes, one more tokenizer file, or a plug-in of another version."""
    folder = Path(shutil.copytree(CLIP_FOLDER, tmp_path / "clip"))
    spec = ExtractorSpec("clip", str(folder))
    pinned = replace(spec, pin=pin_extractor(spec, inspect_extractor(spec)))
    assert load_extractor(pinned).info == inspect_extractor(spec)
    (folder / "merges.txt").write_text("more")
    with pytest.raises(WrongModel, match=rf"^extractor clip: on \S+, merges\.txt in {folder} is one file more"):
        load_extractor(pinned)
    (folder / "merges.txt").unlink()
    tokenizer = folder / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes() + b"\n")
    assert inspect_extractor(spec).extractor_id == load_extractor(spec).info.extractor_id  # weights alone name it
    with pytest.raises(WrongModel, match=r"tokenizer\.json in .* is sha256:\w+ and not sha256:\w+"):
        load_extractor(pinned)
    plug_in = ExtractorSpec("darkroom.evaluation.sharpness:make")
    older = replace(inspect_extractor(plug_in), weights="sharpness-0")
    with pytest.raises(WrongModel, match="are not those that this job was started with"):
        load_extractor(replace(plug_in, pin=pin_extractor(plug_in, older)))
