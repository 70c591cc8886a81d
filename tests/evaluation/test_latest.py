"""Of a run's evaluations the latest figure of each metric stands, with what is known of its age."""

from dataclasses import replace

import numpy as np
import pytest

from darkroom.evaluation.figures import Control, Evaluation, Figure, Gap, Metric
from darkroom.evaluation.latest import Question, latest_figures, question
from darkroom.runs.features import ImageFeatures
from darkroom.runs.reading import PresentImages

CLIP = Metric("net.clip_score", "CLIP score", True, "hessel: 2.5 max(cos, 0)", "", "net", "e1", "", "", "", "")
FID = replace(CLIP, name="net.fid", title="FID", higher_is_better=False, reference="real", reference_digest="r1")
KID = replace(FID, name="net.kid", title="KID")
SLEEK = replace(FID, name="net.sleek", title="Sleek")
COST = Gap("a", 0.5, 0.1, 0.9, 8)
IMAGES = PresentImages(8, "0" * 64)


def evaluation(*metrics: Metric, cells: str = "ab", value: float = 1.0, **more: object) -> Evaluation:
    figures = {cell: {metric.name: Figure(value, None, None, 8) for metric in metrics} for cell in cells}
    return Evaluation("2026-01-01T00:00:00Z", {metric.name: metric for metric in metrics}, figures, **more)


def test_known_metrics_come_first_and_the_later_figure_stands() -> None:
    found = latest_figures([evaluation(SLEEK, KID, CLIP, FID), evaluation(FID, cells="a", value=2.0)], "ab")
    assert [metric.title for metric in found.metrics.values()] == ["FID", "CLIP score", "KID", "Sleek"]
    assert [found.figures(cell)[FID.name].value for cell in "ab"] == [2.0, 1.0]


def test_figures_of_another_definition_than_the_latest_are_left_out_and_said() -> None:
    other = replace(FID, reference_digest="r2")
    found = latest_figures([evaluation(FID, KID), evaluation(other, cells="b")], "ab")
    assert [FID.name in found.figures(cell) for cell in "ab"] == [False, True]
    assert found.metrics[FID.name] == other
    assert [note.split(":")[0] for note in found.notes] == ["FID"]


def test_a_cost_stays_until_another_is_measured() -> None:
    first = evaluation(FID, costs={"b": {FID.name: COST}}, gaps={"b": {FID.name: COST}})
    found = latest_figures([first, evaluation(FID, cells="b")], "ab")
    assert found.costs("b") == {FID.name: COST}
    assert found.gaps("b") == {}
    newer = replace(COST, difference=0.7)
    found = latest_figures([first, evaluation(FID, costs={"b": {FID.name: newer}})], "ab")
    assert found.costs("b") == {FID.name: newer}


def test_rows_beside_the_cells_have_the_latest_figures_of_what_is_still_so_defined() -> None:
    def row(value: float, *metrics: Metric) -> dict[str, Control]:
        return {"real": Control({metric.name: Figure(value, None, None, 8) for metric in metrics}, f"of {value}")}

    other = replace(KID, reference_digest="r2")
    evaluations = [
        evaluation(FID, KID, CLIP, controls=row(1.0, FID, KID, CLIP)),
        evaluation(FID, other, controls=row(2.0, FID)),
    ]
    found = latest_figures(evaluations, "ab").controls["real"]
    assert {name: figure.value for name, figure in found.figures.items()} == {FID.name: 2.0, CLIP.name: 1.0}
    assert found.note == "of 2.0"


@pytest.mark.parametrize(
    ("then", "warning"),
    [
        (IMAGES, None),
        (PresentImages(5, "1" * 64), "older than the cell's 8 images: there were 5; evaluate again"),
        (
            PresentImages(8, "1" * 64),
            "older than the cell's 8 images: some of them were made again since; evaluate again",
        ),
        (None, "its evaluation did not note which images it is of; evaluate again"),
    ],
)
def test_a_figure_of_other_images_than_those_that_are_there_says_so(
    then: PresentImages | None, warning: str | None
) -> None:
    images = {"a": then} if then else {}
    found = replace(latest_figures([evaluation(FID, cells="a", images=images)], "a"), present={"a": IMAGES})
    assert found.figures("a")[FID.name].warnings == ((warning,) if warning else ())
    assert found.outdated("a") == (frozenset({FID.name}) if warning else frozenset())


@pytest.mark.parametrize(
    ("convention", "scores"),
    [
        ("hessel: 2.5 max(cos, 0)", [0.0, 1.0]),
        ("mlperf: 100 cos", [-10.0, 40.0]),
        ("of another version", [-10.0, 40.0]),
    ],
)
def test_single_images_are_scored_on_the_scale_of_the_clip_score(convention: str, scores: list[int]) -> None:
    found = latest_figures([evaluation(FID, replace(CLIP, convention=convention))], "a").image_scores
    assert found is not None
    assert (found.metric.name, found.metric.extractor_id) == (CLIP.name, "e1")
    assert found.of(of_images([-0.1, 0.4])).tolist() == pytest.approx(scores)


def of_images(cosines: list[float]) -> ImageFeatures:
    features = np.array([[1, 2, 3]] * len(cosines), np.float32)
    features[-1, 1] = np.nan
    ids = tuple(map(str, range(len(cosines))))
    return ImageFeatures(ids, features, np.array(cosines, np.float32), np.zeros(len(cosines), bool))


def test_single_images_are_scored_by_a_scorer_where_there_is_no_clip_score() -> None:
    metric = replace(FID, name="mine.cer", extractor="mine", column=1)
    found = latest_figures([evaluation(metric)], "a").image_scores
    assert found is not None
    np.testing.assert_array_equal(found.of(of_images([0.1, 0.2])), [2, np.nan])
    assert found.words == "cer of mine"
    assert question(metric) is Question.PICTURES
    both = latest_figures([evaluation(metric, CLIP)], "a").image_scores
    assert both is not None
    assert both.metric.name == CLIP.name


def test_without_scores_of_images_single_images_have_none() -> None:
    assert latest_figures([evaluation(FID)], "a").image_scores is None


def test_figures_by_a_column_are_of_the_images_and_the_definition_of_the_cells_own_figure() -> None:
    def by(value: float, *metrics: Metric) -> dict:
        return {"kind": {"few": {"a": {metric.name: Figure(value, None, None, 4) for metric in metrics}}}}

    first = evaluation(CLIP, KID, by=by(1.0, CLIP, KID), images={"a": IMAGES})
    assert latest_figures([first], "ab").by == first.by
    assert latest_figures([first], "b").by == {}
    other = replace(KID, convention="another")
    later = evaluation(CLIP, other, cells="a", by=by(2.0, CLIP), images={"a": IMAGES})
    found = latest_figures([first, later], "ab").by["kind"]["few"]["a"]
    assert {name: figure.value for name, figure in found.items()} == {CLIP.name: 2.0}
    anew = evaluation(CLIP, KID, images={"a": PresentImages(8, "1" * 64)})
    assert latest_figures([first, anew], "ab").by == {}
