"""Scorers and extractors of one's own."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from pipeline.domain.errors import DarkroomError
from pipeline.features.extractor import ExtractorInfo, ImageScorer
from pipeline.features.opening import inspect_extractor, load_extractor
from pipeline.features.sharpness import Sharpness
from pipeline.features.spec import ExtractorSpec
from pipeline.worker.scores import scored

SHARPNESS = ExtractorSpec("pipeline.features.sharpness:make")


class Plain:
    def __init__(self, info: ExtractorInfo) -> None:
        self.info = info


class WithScores(Plain):
    def scores(self, pictures, captions):
        return np.array([len(caption) for caption in captions], np.float32)


def reads_captions(spec: ExtractorSpec) -> WithScores:
    return WithScores(ExtractorInfo(f"captions_{spec.source}", "none", "none", 1, is_scorer=True))


def no_scores(_spec: ExtractorSpec) -> Plain:
    return Plain(ExtractorInfo("plain", "none", "none", 1))


def not_said_to_score(_spec: ExtractorSpec) -> WithScores:
    return WithScores(ExtractorInfo("scores", "none", "none", 1))


def dotted(_spec: ExtractorSpec) -> WithScores:
    return WithScores(ExtractorInfo("my.scores", "none", "none", 1, is_scorer=True))


def test_a_plug_in_is_looked_at_and_loaded_by_its_functions_name() -> None:
    found = load_extractor(SHARPNESS)
    assert isinstance(found, ImageScorer)
    assert found.info == inspect_extractor(SHARPNESS) == Sharpness.info


def test_a_blurred_picture_is_less_sharp_and_a_flat_one_not_at_all(pictures) -> None:
    (picture,) = pictures(1)
    blurred = np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(1)))
    sharp, soft, flat = Sharpness().scores([picture, blurred, np.full((8, 8, 3), 90, np.uint8)], ["", "", ""])
    assert sharp > 10 * soft > 0
    assert flat == pytest.approx(0, abs=1e-9)
    assert Sharpness().scores([], []).shape == (0,)


def test_scores_are_stored_as_features_are_and_see_their_captions(pictures) -> None:
    mine = load_extractor(ExtractorSpec(f"{__name__}:reads_captions", source="twice"))
    assert mine.info.name == "captions_twice"
    (images,) = scored([mine], ["i", "j"], pictures(2), ["a", "longer"])
    assert images.features.tolist() == [[1.0], [6.0]]
    assert np.isnan(images.cosines).all()
    assert scored([mine], [], [], [])[0].features.shape == (0, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.at_all:make", "cannot be imported (No module named 'nowhere'); install its package"),
        ("pipeline.features.sharpness:nothing", "has no attribute 'nothing'); install its package"),
        (":make", "cannot be imported"),
        (f"{__name__}:no_scores", "it made a Plain, which has no info, or neither features nor scores"),
        (f"{__name__}:not_said_to_score", "needs an info with is_scorer=True and dimension=1"),
        (f"{__name__}:dotted", "info.name='my.scores' cannot begin a figure's name"),
    ],
)
def test_what_is_no_plug_in_is_refused_in_one_line(name: str, words: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        inspect_extractor(ExtractorSpec(name))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_on_the_path_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scores.py").write_text("from pipeline.features.sharpness import make\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert inspect_extractor(ExtractorSpec("my_scores:make")) == Sharpness.info
