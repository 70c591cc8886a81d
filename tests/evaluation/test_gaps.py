"""Each cell against each metric's best."""

from collections.abc import Sequence

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import metrics_by_extractor
from darkroom.evaluation.figures import figures_of, metric_infos
from darkroom.evaluation.gaps import MeasuredCell, costs, gaps
from darkroom.evaluation.gathering import Gathered, gathered
from darkroom.evaluation.pairs import Difference, differences
from darkroom.evaluation.sides import sides_of
from darkroom.features.extractor import ExtractorInfo
from darkroom.runs.evaluations import Evaluation, Gap, put_evaluation, read_evaluations
from darkroom.runs.features import PairedFeatures
from darkroom.storage.opening import open_store
from darkroom.storage.store import parse_spec
from tests.evaluation.sets import CLIP, INCEPTION, cell, reference
from tests.evaluation.test_pairs import moved

REAL = reference(80)
BASE = cell(60)
CELLS = {"near": moved(BASE, 0.05, 0.02), "base": BASE, "far": moved(BASE, -0.5, 0.1)}


def measured(cells: dict[str, PairedFeatures], most: int = 50_000, metrics: Sequence[str] | None = None):
    found = {name: gathered([one], most) for name, one in cells.items()}
    return {name: _cell(one, metrics) for name, one in found.items()}


def _cell(images: Gathered, metrics: Sequence[str] | None) -> MeasuredCell:
    return MeasuredCell(images.held.pairs, figures_of(sides_of(images, REAL, "hessel", 0), CLIP, metrics))


def never(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Difference]:
    raise AssertionError("cells of the same images are not measured again")


def found_gaps(cells, again=never, **options) -> dict[str, dict[str, Gap]]:
    infos = metric_infos(CLIP, REAL, options.get("metrics"), "hessel")
    return gaps(measured(cells, **options), infos, 0, again)


def test_every_metric_with_an_interval_has_each_cells_distance_from_its_own_best() -> None:
    found = found_gaps(CELLS)
    figures = {name: one.figures for name, one in measured(CELLS).items()}
    score = {name: gap["demo_clip.clip_score"] for name, gap in found.items() if "demo_clip.clip_score" in gap}
    assert {gap.base for gap in score.values()} == {"near"}
    assert set(score) == {"base", "far"}
    for name, gap in score.items():
        assert gap.difference == pytest.approx(
            figures[name]["demo_clip.clip_score"].figure.value - figures["near"]["demo_clip.clip_score"].figure.value
        )
        assert gap.low <= gap.difference <= gap.high < 0
        assert gap.num_pairs == 60
    assert {name.partition(".")[2] for gap in found.values() for name in gap} == {
        "frechet", "kid", "cmmd", "precision", "density", "vendi", "clip_score",
    }  # fmt: skip


def test_a_distance_is_the_paired_difference_that_compare_gives() -> None:
    gap = found_gaps(CELLS)["far"]["demo_clip.frechet"]
    # `differences` sorts the pairs, and a bootstrap goes by rows.
    said = differences(CELLS, gap.base, CLIP, REAL, ["frechet"], "hessel", 0)["far"]["demo_clip.frechet"]
    assert gap.difference == pytest.approx(said.difference, rel=1e-9)
    assert (gap.low, gap.high) == pytest.approx((said.low, said.high), rel=0.1)


def test_cells_with_missing_images_are_measured_again_over_those_they_share() -> None:
    cells = {"whole": BASE, "part": moved(BASE, -0.3, 0.1).taken(range(10, 60))}

    def again(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Difference]:
        metrics = [name.partition(".")[2] for name in names]
        return differences(cells, best, CLIP, REAL, metrics, "hessel", 0)[cell_id]

    (found,) = filter(None, found_gaps(cells, again, metrics=["clip_score"]).values())
    assert found["demo_clip.clip_score"].num_pairs == 50

    def fails(best: str, cell_id: str, names: Sequence[str]) -> dict[str, Difference]:
        raise DarkroomError("no two share")

    assert found_gaps(cells, fails) == {"whole": {}, "part": {}}


def test_large_cells_are_paired_over_the_images_held(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sides", "figures"):
        monkeypatch.setattr(f"darkroom.evaluation.{module}.MOST_COMPARED", 20)
    found = found_gaps({"near": CELLS["near"], "base": BASE}, most=40)
    all_gaps = {name: gap for by_name in found.values() for name, gap in by_name.items()}
    assert all_gaps["demo_clip.frechet"].num_pairs == 40
    assert all_gaps["demo_clip.kid"].num_pairs == 20
    whole = found_gaps({"near": CELLS["near"], "base": BASE}, metrics=["clip_score"])["base"]["demo_clip.clip_score"]
    held = all_gaps["demo_clip.clip_score"]
    assert held.difference == pytest.approx(whole.difference)
    assert held.high - held.low == pytest.approx(whole.high - whole.low, rel=0.4)


def test_one_cell_has_nothing_to_be_compared_with() -> None:
    assert found_gaps({"only": BASE}) == {"only": {}}


def test_gaps_survive_storing(tmp_path) -> None:
    stored = Evaluation("2025-01-01T00:00:00Z", metric_infos(CLIP, REAL, None, "hessel"), {}, found_gaps(CELLS))
    store = open_store(parse_spec(str(tmp_path)))
    put_evaluation(store, "e", stored)
    assert read_evaluations(store) == [stored]


def test_names_go_to_the_extractors_that_have_them() -> None:
    clip = ExtractorInfo("clip", "w", "r", 4)
    both = [clip, INCEPTION]
    assert metrics_by_extractor(["kid", "clip.clip_score", "fid"], both) == {
        "clip": ["kid", "clip_score"],
        "inception_v3": ["kid", "fid"],
    }
    assert metrics_by_extractor(["frechet", "inception_v3.frechet"], both) == {
        "clip": ["frechet"],
        "inception_v3": ["fid"],
    }


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


def test_a_cost_is_the_distance_from_the_same_cell_without() -> None:
    cells = measured(CELLS)
    found = costs(cells, {"far": "base"}, 0, never)
    assert {name for name, gaps_of_cell in found.items() if gaps_of_cell} == {"far"}
    score = found["far"]["demo_clip.clip_score"]
    assert score.base == "base"
    figures = {name: one.figures["demo_clip.clip_score"].figure.value for name, one in cells.items()}
    assert score.difference == figures["far"] - figures["base"]
    assert score.low < score.difference < score.high < 0


def test_costs_are_kept_beside_the_figures(tmp_path) -> None:
    store = open_store(parse_spec(str(tmp_path)))
    gap = {"c": {"m": Gap("base", 0.5, 0.25, 0.75, 9)}}
    put_evaluation(store, "e", Evaluation("2026-01-01", {}, {}, {}, gap))
    (found,) = read_evaluations(store)
    assert (found.gaps, found.costs) == ({}, gap)
