"""Scorers and extractors of one's own."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from darkroom.domain.errors import DarkroomError
from darkroom.domain.source_code import modules_of
from darkroom.engine.extraction import Picture, extract_by_all
from darkroom.evaluation.catalogue import metrics_for
from darkroom.evaluation.extractor import ExtractorSpec, ImageScorer
from darkroom.evaluation.opening import inspect_extractor, load_extractor
from darkroom.evaluation.sharpness import Sharpness
from darkroom.runs.features import ExtractorInfo, Score

SHARPNESS = ExtractorSpec("darkroom.evaluation.sharpness:make")


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


def named_by_texts(_spec: ExtractorSpec) -> WithScores:
    return WithScores(ExtractorInfo("two", "none", "none", 2, is_scorer=True, scores=("a", "b")))  # type: ignore[arg-type]


def test_a_plug_in_is_looked_at_and_loaded_by_its_functions_name() -> None:
    found = load_extractor(SHARPNESS)
    assert isinstance(found, ImageScorer)
    assert found.info == inspect_extractor(SHARPNESS)
    assert replace(found.info, code="") == Sharpness.info


def fits(_spec: ExtractorSpec) -> WithScores:
    return WithScores(ExtractorInfo("fits", "none", "none", 1, is_scorer=True, reads_captions=True))


def test_a_scorer_says_itself_whether_it_reads_captions() -> None:
    """Of an extractor its caption features say so."""
    assert not load_extractor(SHARPNESS).info.scores_fit
    assert load_extractor(ExtractorSpec(f"{__name__}:fits")).info.scores_fit
    assert metrics_for(load_extractor(ExtractorSpec(f"{__name__}:fits")).info) == ["score"]
    assert replace(Sharpness.info, columns=("text",)).scores_fit


class Painter(WithScores):
    def scores(self, pictures, captions):
        for picture in pictures:
            picture[:] = 0
        return super().scores(pictures, captions)


def paints(_spec: ExtractorSpec) -> Painter:
    return Painter(ExtractorInfo("paints", "none", "none", 1, is_scorer=True))


def test_what_a_plug_in_writes_into_its_pictures_is_its_own_affair(pictures) -> None:
    (picture,) = pictures(1)
    before = picture.copy()
    extract_by_all([load_extractor(ExtractorSpec(f"{__name__}:paints"))], [Picture("a", "b", picture)])
    assert np.array_equal(picture, before)


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
    first, second = pictures(2)
    (found,) = extract_by_all([mine], [Picture("i", "a", first), Picture("j", "longer", second)])
    assert found.images.features.tolist() == [[1.0], [6.0]]
    assert np.isnan(found.images.cosines).all()
    assert extract_by_all([mine], [])[0].images.features.shape == (0, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nowhere.at_all:make", "cannot be imported (No module named 'nowhere'); install its package"),
        ("darkroom.evaluation.sharpness:nothing", "has no attribute 'nothing'); install its package"),
        (":make", "cannot be imported"),
        (f"{__name__}:no_scores", "it made a Plain, which has no info, or neither features nor scores"),
        (f"{__name__}:not_said_to_score", "needs an info with is_scorer=True and a dimension for each score"),
        (f"{__name__}:named_by_texts", "info.scores has 'a'; give each as darkroom.runs.features.Score"),
        (f"{__name__}:dotted", "info.name='my.scores' cannot be part of a figure's name"),
        (f"{__name__}:columns_unread", "info.columns=tags are what row_scores is given, and it has none"),
    ],
)
def test_what_is_no_plug_in_is_refused_in_one_line(name: str, words: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        inspect_extractor(ExtractorSpec(name))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def joint_space(spec: ExtractorSpec) -> "Scaled":
    return Scaled(spec)


class Scaled:
    """The embedded CLIP under a name of its own, in features as much longer as its options say."""

    def __init__(self, spec: ExtractorSpec) -> None:
        self._clip = load_extractor(ExtractorSpec("demo_clip", device=spec.device))
        self._by = (spec.options or {}).get("by", 1)
        self.info = replace(self._clip.info, name="scaled")

    def features(self, pictures):
        return self._clip.features(pictures) * self._by

    def caption_features(self, captions):
        return self._clip.caption_features(captions)

    def truncated(self, captions):
        return self._clip.truncated(captions)


@pytest.mark.slow
def test_a_plug_in_with_captions_in_the_pictures_space_has_clip_score_and_cmmd(pictures) -> None:
    (picture,) = pictures(1)
    name = f"{__name__}:joint_space"
    twice = load_extractor(ExtractorSpec(name, options={"by": 2}))
    assert {"clip_score", "cmmd", "kid"} <= set(metrics_for(twice.info))
    (found,) = extract_by_all([twice], [Picture("a", "a red circle", picture)])
    plain = load_extractor(ExtractorSpec("demo_clip"))
    (known,) = extract_by_all([plain], [Picture("a", "a red circle", picture)])
    assert found.images.cosines == pytest.approx(known.images.cosines)
    np.testing.assert_allclose(found.images.features, known.images.features * 2)
    others = [inspect_extractor(ExtractorSpec(name)), inspect_extractor(ExtractorSpec(name, options={"by": 3}))]
    assert len({info.extractor_id for info in (twice.info, *others)}) == 3
    assert inspect_extractor(ExtractorSpec(name, alias="long")).called == "long"


class Refining(Plain):
    def row_scores(self, pictures, rows):
        return [{"first": 1.0, "second": len(row["columns"]["tags"])} for row in rows]


def reads_rows(_spec: ExtractorSpec) -> Refining:
    scores = (Score("first"), Score("second", higher_is_better=False))
    return Refining(ExtractorInfo("rows", "none", "none", 2, is_scorer=True, scores=scores, columns=("tags",)))


def columns_unread(_spec: ExtractorSpec) -> WithScores:
    return WithScores(ExtractorInfo("captions", "none", "none", 1, is_scorer=True, columns=("tags",)))


def test_a_plug_in_may_have_several_scores_and_read_the_prompts_columns(pictures) -> None:
    (picture,) = pictures(1)
    mine = load_extractor(ExtractorSpec(f"{__name__}:reads_rows"))
    (found,) = extract_by_all([mine], [Picture("i", "a", picture, row={"columns": {"tags": ["x", "y"]}})])
    assert found.images.features.tolist() == [[1, 2]]
    assert metrics_for(mine.info) == ["first", "second"]


MINE = """
import numpy as np
import my_helper
from darkroom.evaluation.extractor import ExtractorInfo


class Mine:
    info = ExtractorInfo("mine", "none", "none", 1, is_scorer=True)

    def scores(self, pictures, captions):
        return np.array([my_helper.score(picture) for picture in pictures], np.float32)


def make(spec):
    return Mine()
"""


def looked_at(folder: Path, **options: str) -> str:
    """The id of the plug-in in this folder, as a new process sees it, without torch, which it does not need."""
    code = (
        "from darkroom.evaluation.extractor import ExtractorSpec; "
        "from darkroom.evaluation.plugins import load_plug_in; "
        f"print(load_plug_in(ExtractorSpec('mine:make', **{options!r})).info.extractor_id)"
    )
    paths = os.pathsep.join([str(folder), *filter(None, sys.path)])
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": paths}
    ).stdout.strip()


@pytest.mark.slow
def test_changed_code_is_another_extractor_wherever_it_lies(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    for folder in (first, second):
        folder.mkdir()
        (folder / "mine.py").write_text(MINE)
        (folder / "my_helper.py").write_text("def score(picture):\n    return picture.mean()\n")
        (folder / "unrelated.py").write_text(f"place = {str(folder)!r}\n")
        (folder / "head.bin").write_text("weights")
    found = looked_at(first, source=str(first / "head.bin"))
    assert looked_at(second, source=str(second / "head.bin")) == found
    (second / "head.bin").write_text("other weights")
    changed = {found, looked_at(second, source=str(second / "head.bin")), looked_at(second)}
    (second / "my_helper.py").write_text("def score(picture):\n    return picture.max()\n")
    changed |= {looked_at(second)}
    (second / "mine.py").write_text(MINE.replace("np.float32)", "np.float32) * 2"))
    changed |= {looked_at(second), looked_at(second, resize="clean")}
    assert len(changed) == 6


def test_code_in_a_package_and_in_functions_counts_and_installed_packages_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    package = tmp_path / "my_package"
    (package / "heads").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "heads" / "__init__.py").write_text("")
    (package / "heads" / "linear.py").write_text("weight = 1\n")
    (package / "scorer.py").write_text(
        "import json, torch.nn, not_there.at_all\nfrom darkroom.evaluation import sharpness\n\n\n"
        "def make(spec):\n    from .heads.linear import weight\n    return weight\n"
    )
    names = modules_of("my_package.scorer")
    assert set(names) == {"my_package", "my_package.scorer", "my_package.heads", "my_package.heads.linear"}


def test_a_folder_on_the_path_is_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_scores.py").write_text("from darkroom.evaluation.sharpness import make\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert replace(inspect_extractor(ExtractorSpec("my_scores:make")), code="") == Sharpness.info


def test_code_that_changes_once_it_is_imported_counts_from_the_next_process_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = tmp_path / "edited_later.py"
    code.write_text("from darkroom.evaluation.sharpness import make\n")
    monkeypatch.syspath_prepend(tmp_path)
    spec = ExtractorSpec("edited_later:make")
    before = inspect_extractor(spec)
    code.write_text("# what this process runs is still as it was\n")
    assert inspect_extractor(spec) == before
