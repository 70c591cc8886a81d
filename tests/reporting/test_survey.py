"""What one pass over real runs of the paint renderer finds: failures, scores, picks, groups of prompts."""

import math
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from darkroom.reporting.content import check
from darkroom.runs import manifest
from darkroom.runs.files import manifest_key
from tests.reporting.runs import CLIP, cell, content, evaluate, rendered, score

PROMPTS = [f"prompt {number}" for number in range(10)]
CELLS = [cell(guidance_scale=scale, scheduler=name) for scale in (7.5, 1.0) for name in ("euler", "ddim")]


@pytest.mark.slow
def test_a_hundred_failures_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    found = content(rendered(tmp_path, [f"fail alone {number}" for number in range(108)]))
    assert len(found.failures) == 100
    assert found.cells[0].num_failed == 108
    assert any("first 100 of 108" in note for note in found.notes)


@pytest.mark.slow
def test_scores_picks_and_breakdown_are_the_stored_cosines(tmp_path: Path) -> None:
    kinds = ["x", "y"] * 5
    run = rendered(tmp_path, PROMPTS, CELLS, kind=kinds, only=["z"] * 10, own=[str(number) for number in range(10)])
    cosines = score(run[0], {prompt: place / 20 - 0.1 for place, prompt in enumerate(PROMPTS)})
    evaluate(run[0], run[2], CLIP)
    found = content(run, num_prompts=2)
    check(found)
    assert found.score_metric == CLIP.name
    for picture in found.pictures:
        assert picture.score == pytest.approx(100 * cosines[picture.image_id], abs=1e-4)
    by_id = {picture.image_id: picture for picture in found.pictures}
    assert [by_id[name].prompt for name in found.picks.best] == PROMPTS[:3:-1]
    assert [by_id[name].prompt for name in found.picks.worst] == PROMPTS[5::-1]
    assert len({picture.prompt for picture in found.pictures if picture.in_sheet}) == 2
    assert set(found.breakdown) == {"kind", "own"}
    for by_cell in found.breakdown["kind"].values():
        assert {group.num_images for group in by_cell.values()} == {5}
    assert found.breakdown["kind"]["x"][found.cells[0].cell_id].mean == pytest.approx(10, abs=1e-4)
    assert all(len(scores) == 10 for scores in found.scores.values())
    evaluate(run[0], run[2], replace(CLIP, higher_is_better=False), at="2026-01-02")
    lower = content(run, num_prompts=2)
    by_id = {picture.image_id: picture for picture in lower.pictures}
    assert by_id[lower.picks.best[0]].prompt == PROMPTS[0]
    assert by_id[lower.picks.worst[-1]].prompt == PROMPTS[-1]


@pytest.mark.slow
def test_a_hessel_score_is_two_and_a_half_cosines_and_never_below_zero(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:4])
    score(run[0], dict(zip(PROMPTS, [-0.2, 0.1, 0.2, 0.4], strict=False)))
    evaluate(run[0], run[2], replace(CLIP, convention="hessel: mean of 2.5 max(cos, 0)"))
    found = content(run)
    assert sorted(found.scores[found.cells[0].cell_id]) == pytest.approx([0, 0.25, 0.5, 1.0])


@pytest.mark.slow
def test_scores_that_are_no_number_are_left_out(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:4])
    score(run[0], dict.fromkeys(PROMPTS, math.nan))
    evaluate(run[0], run[2], CLIP)
    found = content(run)
    check(found)
    assert (found.scores, found.picks.best) == ({}, ())


@pytest.mark.slow
def test_columns_with_many_values_long_values_or_lists_group_nothing(tmp_path: Path) -> None:
    prompts = [f"prompt {number}" for number in range(32)]
    columns = {"many": list(range(32)), "long": ["x" * 99, "y"] * 16, "list": [[1], [2]] * 16, "few": [1.5, None] * 16}
    run = rendered(tmp_path, prompts, **columns)
    score(run[0])
    evaluate(run[0], run[2], CLIP)
    assert {name: set(values) for name, values in content(run).breakdown.items()} == {"few": {"1.5", "(none)"}}


@pytest.mark.slow
def test_a_setting_that_rows_override_groups_them_unless_cells_differ_in_it(tmp_path: Path) -> None:
    run = rendered(tmp_path / "a", PROMPTS, [cell(), cell(scheduler="ddim")], num_inference_steps=[5, 7] * 5)
    score(run[0])
    evaluate(run[0], run[2], CLIP)
    assert set(content(run).breakdown["num_inference_steps"]) == {"5", "7"}
    run = rendered(tmp_path / "b", PROMPTS, [cell(num_inference_steps=5), cell(num_inference_steps=7)])
    score(run[0])
    evaluate(run[0], run[2], CLIP)
    assert content(run).breakdown == {}


@pytest.mark.slow
def test_a_figure_of_images_that_were_made_again_since_is_said(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    store, _, cells = run
    score(store)
    evaluate(store, cells, CLIP)
    assert not any("older" in note or "score of the file" in note for note in content(run).notes)
    name = next(iter(manifest.committed(store)))
    before = store.get(manifest_key(name))
    table = manifest.parse(before)
    digests = ["0" * 64, *table["sha256"].to_pylist()[1:]]
    place = table.column_names.index("sha256")
    again = table.set_column(place, table.schema.field("sha256"), pa.array(digests, pa.string()))
    assert manifest.revise(store, name, before, again)
    found = content(run)
    [result] = found.cells
    assert "some of them were made again since" in result.figures[CLIP.name].warnings[0]
    assert any("1 images have no score of the file that is there now" in note for note in found.notes)
    assert sum(map(len, found.scores.values())) == result.num_images - 1


@pytest.mark.slow
def test_damaged_features_cost_their_scores_alone(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    store, _, cells = run
    score(store)
    evaluate(store, cells, CLIP)
    key = next(info.key for info in store.list("features/"))
    store.put(key, store.get(key)[:-20])
    assert any("have no score of the file" in note for note in content(run).notes)


@pytest.mark.slow
def test_scores_are_subsampled_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.reporting.survey.MOST_SCORES", 4)
    run = rendered(tmp_path, PROMPTS)
    cosines = score(run[0])
    evaluate(run[0], run[2], CLIP)
    found = content(run)
    lowest = sorted(cosines)[:4]
    assert list(*found.scores.values()) == pytest.approx([100 * cosines[name] for name in lowest], abs=1e-4)
