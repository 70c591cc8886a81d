import re
from dataclasses import replace

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import (
    check_scores,
    checked_metrics,
    default_metrics,
    definition,
    metrics_by_extractor,
)
from darkroom.evaluation.measuring import metric_infos
from darkroom.runs.features import ExtractorInfo, Score
from tests.evaluation.sets import CLIP, INCEPTION


@pytest.mark.parametrize(
    ("metric", "extractor", "words"),
    [
        ("fvd", "demo_clip", "fvd is not defined for demo_clip; of its features there are frechet"),
        ("fid", "demo_clip", "fid is not defined for demo_clip; of its features there are frechet"),
        ("clip_score", "dinov2", "clip_score is not defined for dinov2"),
        ("inception_score", "clip", "inception_score is not defined for clip"),
        ("cmmd", "inception_v3", "cmmd is not defined for inception_v3; of its features there are fid"),
    ],
)
def test_a_metric_that_is_none_of_the_extractors_is_refused(metric: str, extractor: str, words: str) -> None:
    with pytest.raises(DarkroomError, match=words) as caught:
        checked_metrics([metric], ExtractorInfo(extractor, "w", "r", 4, reads_captions="clip" in extractor))
    assert "\n" not in str(caught.value)


def test_defaults_follow_the_extractor() -> None:
    dinov2 = ExtractorInfo("dinov2", "w", "r", 4)
    assert default_metrics(INCEPTION, [""])[0] == "fid"
    assert default_metrics(dinov2, []) == ["vendi"]
    assert "frechet_infinity" not in default_metrics(dinov2, [""])


def test_a_scorers_scores_are_its_metrics_and_no_others() -> None:
    mine = ExtractorInfo("mine", "w", "r", 2, True, scores=(Score("correct"), Score("cer", higher_is_better=False)))
    assert default_metrics(mine, [""]) == ["correct", "cer"]
    assert [definition(name, mine).higher_is_better for name in ("correct", "cer")] == [True, False]
    assert metrics_by_extractor(["mine.cer"], [mine]) == {"mine": ["cer"]}
    assert default_metrics(replace(mine, scores=()), []) == ["score"]
    with pytest.raises(
        DarkroomError, match="its score clip_score is called as a metric of features; call it otherwise"
    ):
        check_scores(replace(mine, scores=(Score("clip_score"),)))
    with pytest.raises(DarkroomError, match="extractor raters: figures of people's votes are called so; give it an a"):
        check_scores(replace(mine, alias="raters"))


def test_names_go_to_the_extractors_that_have_them() -> None:
    clip = ExtractorInfo("clip", "w", "r", 4, reads_captions=True)
    both = [clip, INCEPTION]
    assert metrics_by_extractor(["kid", "clip.clip_score", "fid"], both) == {
        "clip": ["kid", "clip_score"],
        "inception_v3": ["kid", "fid"],
    }
    assert metrics_by_extractor(["frechet", "inception_v3.frechet"], both) == {
        "clip": ["frechet"],
        "inception_v3": ["fid"],
    }


def test_what_an_extractor_can_do_decides_its_metrics_and_its_alias_how_they_are_called() -> None:
    plug_in = ExtractorInfo("siglip", "w", "r", 4, reads_captions=True)
    assert {"clip_score", "cmmd"} < set(default_metrics(plug_in, [""]))
    assert "clip_score" not in default_metrics(replace(plug_in, reads_captions=False), [""])
    two = [CLIP, replace(CLIP, alias="big"), replace(INCEPTION, alias="clean")]
    assert metrics_by_extractor(["big.kid", "demo_clip.kid", "fid"], two) == {
        "demo_clip": ["kid"],
        "big": ["kid"],
        "clean": ["fid"],
    }
    assert two[1].extractor_id == CLIP.extractor_id
    assert metric_infos(two[2], None, ["fid"], "hessel")["clean.fid"].title == "FID (clean)"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["beauty"], "no 'beauty' of these extractors; there are demo_clip.frechet, demo_clip.frechet_infinity, "),
        (["demo_clip.fid", "inception_v3.fid"], "no 'demo_clip.fid' of these extractors"),
        (["clip.kid"], "no 'clip.kid' of these extractors"),
        (["clip_score"], "none of the metrics named is of inception_v3; leave it out, or name one of its: fid, "),
    ],
)
def test_a_name_that_no_extractor_has_and_an_extractor_without_a_name_are_refused(names: list[str], words: str) -> None:
    with pytest.raises(DarkroomError) as caught:
        metrics_by_extractor(names, [CLIP, INCEPTION])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_of_references_follow_metrics_that_compare_with_one() -> None:
    names = ("coco", "mine")
    assert checked_metrics(["kid", "vendi", "cmmd@mine"], CLIP, names) == ["kid@coco", "kid@mine", "vendi", "cmmd@mine"]
    assert checked_metrics(["kid"], CLIP) == ["kid"]
    assert checked_metrics(["frechet@coco"], INCEPTION, names) == ["fid@coco"]
    assert {"fid@coco", "fid@mine", "vendi"} < set(default_metrics(INCEPTION, names))
    both = metrics_by_extractor(["fid@mine", "demo_clip.kid"], [CLIP, INCEPTION], names)
    assert both == {"demo_clip": ["kid@coco", "kid@mine"], "inception_v3": ["fid@mine"]}
    for given, of, message in (
        ("kid@nowhere", names, "no reference is called nowhere; there are coco, mine"),
        ("vendi@coco", names, "vendi is against no reference; leave @coco out"),
        ("kid@coco", ("",), "no reference is called coco; none has a name; leave @coco out"),
    ):
        with pytest.raises(DarkroomError, match=re.escape(message)):
            checked_metrics([given], CLIP, of)
