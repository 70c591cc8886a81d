"""Content from real runs of the paint renderer: what it says is what is stored."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK
from darkroom.reporting.content import ReportContent, check
from darkroom.reporting.data import metrics_table
from darkroom.reporting.summary import summary
from darkroom.runs.reading import present_images, records
from tests.reporting.runs import CLIP, FID, KID, cell, content, evaluate, rendered

PROMPTS = [f"prompt {number}" for number in range(10)]
CELLS = [cell(guidance_scale=scale, scheduler=name) for scale in (7.5, 1.0) for name in ("euler", "ddim")]


def fact(found: ReportContent, name: str) -> str:
    return dict((*found.settings, *found.facts))[name]


@pytest.mark.slow
def test_a_plain_run_has_pictures_and_facts_and_no_figures(tmp_path: Path) -> None:
    found = content(rendered(tmp_path, PROMPTS))
    check(found)
    assert (found.axes, found.metrics, found.scores, found.breakdown, found.failures) == ((), (), {}, {}, ())
    assert [picture.prompt for picture in found.pictures] == PROMPTS
    assert [(result.num_images, result.num_failed) for result in found.cells] == [(10, 0)]
    assert fact(found, "images") == "10 ok"
    assert fact(found, "evaluated") == "not yet"
    assert found.title == "darkroom/paint on test"
    assert found.notes == ()


@pytest.mark.slow
def test_one_image_is_a_report_too(tmp_path: Path) -> None:
    found = content(rendered(tmp_path, ["one"]))
    check(found)
    assert len(found.pictures) == 1
    assert "images/s by the clock" not in dict(found.facts)


@pytest.mark.slow
def test_a_run_without_a_committed_shard_is_refused(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:4], unfinished=1)
    with pytest.raises(DarkroomError, match="no shard is committed"):
        content(run)


@pytest.mark.slow
def test_axes_are_short_and_cells_stand_in_their_order(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS, CELLS)
    found = content(run)
    check(found)
    assert [(axis.name, axis.values) for axis in found.axes] == [
        ("guidance_scale", (1.0, 7.5)),
        ("scheduler", ("ddim", "euler")),
    ]
    settings = [(result.settings["guidance_scale"], result.settings["scheduler"]) for result in found.cells]
    assert settings == [(1.0, "ddim"), (7.5, "ddim"), (1.0, "euler"), (7.5, "euler")]
    assert found.title == "Sweep of darkroom/paint on test"
    across = content(run, grid_columns="scheduler", num_grid_prompts=2)
    assert len({found.grid, across.grid, None}) == 3
    with pytest.raises(DarkroomError, match=r"grid.columns=seed: no axis of this run; there are guidance_scale, sched"):
        content(run, grid_columns="seed")


@pytest.mark.slow
def test_chosen_prompts_are_the_same_in_every_cell_and_every_time(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS, CELLS, images=2)
    found = content(run, num_prompts=3)
    shown = Counter(picture.prompt for picture in found.pictures)
    assert set(shown.values()) == {len(CELLS) * 2}
    assert len(shown) == 3
    assert found.pictures == content(run, num_prompts=3).pictures
    assert any("3 of 10 prompts" in note for note in found.notes)


@pytest.mark.slow
def test_failed_and_unfinished_work_is_said(tmp_path: Path) -> None:
    prompts = ["fine", "fail alone", "fine too", "fail alone again", *PROMPTS[:4]]
    found = content(rendered(tmp_path, prompts, unfinished=1))
    check(found)
    assert found.cells[0].num_images == 2
    assert found.cells[0].num_failed == 2
    assert [failure.prompt for failure in found.failures] == ["fail alone", "fail alone again"]
    assert fact(found, "images") == "2 ok, 2 failed"
    assert not any(note.startswith("Pictures") for note in found.notes)
    assert fact(found, "why images failed") == "2 x fails alone"
    assert fact(found, "not rendered yet").startswith("4 prompt rows")
    assert found.title.endswith("(not finished)")


@pytest.mark.slow
def test_metrics_come_in_order_and_the_latest_of_each_stands(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:8], CELLS[:2])
    store, _, cells = run
    evaluate(store, cells, KID, CLIP, FID, value=20, at="2026-01-01")
    evaluate(store, cells, FID, value=30, at="2026-01-02")
    found = content(run)
    check(found)
    assert [metric.title for metric in found.metrics] == ["FID", "CLIP score", "KID"]
    values = {result.cell_id: result.figures for result in found.cells}
    first = next(iter(cells))
    assert (values[first][FID.name].value, values[first][KID.name].value) == (30, 20)
    assert fact(found, "evaluated") == "2026-01-01 00:00 UTC, 2026-01-02 00:00 UTC"
    assert fact(found, "references") == "real"


@pytest.mark.slow
def test_figures_against_another_reference_are_not_mixed_in(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:8], CELLS[:2])
    store, _, cells = run
    first, second = cells
    evaluate(store, cells, FID, value=20, at="2026-01-01")
    evaluate(store, {second: cells[second]}, replace(FID, reference_digest="r2"), value=30, at="2026-01-02")
    found = content(run)
    figures = {result.cell_id: dict(result.figures) for result in found.cells}
    assert figures[first] == {}
    assert figures[second][FID.name].value == 30
    assert any("another definition or reference" in note for note in found.notes)
    assert any("1 of 2 cells are not evaluated" in note for note in found.notes)


@pytest.mark.slow
def test_a_figure_that_is_older_than_images_is_said(tmp_path: Path) -> None:
    store, _, cells = rendered(tmp_path, PROMPTS, unfinished=1)
    before = present_images(store)
    evaluate(store, cells, CLIP, at="2026-01-01")
    run = rendered(tmp_path, PROMPTS)
    evaluate(store, cells, FID, at="2026-01-02")
    found = content(run)
    [result] = found.cells
    count = before[result.cell_id].count
    assert result.outdated == {CLIP.name}
    assert result.figures[CLIP.name].warnings == (
        f"older than the cell's {result.num_images} images: there were {count}; evaluate again",
    )
    assert any("older than the images that are there now" in note and CLIP.title in note for note in found.notes)
    assert metrics_table(found).to_pydict()["outdated"] == [False, True]
    assert "older than the cell" in summary(found)


@pytest.mark.slow
def test_an_evaluation_that_did_not_note_its_images_is_not_taken_for_current(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    store, _, cells = run
    evaluate(store, cells, CLIP)
    (key,) = [info.key for info in store.list("evaluations/")]
    stored = json.loads(store.get(key))
    del stored["images"]
    store.put(key, json.dumps(stored).encode())
    [result] = content(run).cells
    assert result.outdated == {CLIP.name}


@pytest.mark.slow
@pytest.mark.parametrize(
    "damaged", [b"", b"{", b"{}", b"null", b"[1]", b'{"created_at": 1, "metrics": 3}', b"\xff\x00"]
)
@pytest.mark.parametrize("key", ["evaluations/x.json", "choices.json"])
def test_a_file_that_is_no_evaluation_or_choice_is_named_in_one_line(tmp_path: Path, key: str, damaged: bytes) -> None:
    run = rendered(tmp_path, PROMPTS[:4])
    run[0].put(key, damaged)
    with pytest.raises(DarkroomError, match=r"not readable as .*remove it") as caught:
        content(run)
    assert str(tmp_path / key) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
def test_long_texts_on_an_axis_are_cut_and_stay_apart(tmp_path: Path) -> None:
    texts = ["", "blurry, " * 20 + "one", "blurry, " * 20 + "two"]
    found = content(rendered(tmp_path, PROMPTS[:4], [cell(negative_prompt=text) for text in texts]))
    check(found)
    [axis] = found.axes
    assert len(set(axis.values)) == 3
    assert "(none)" in axis.values
    assert max(map(len, axis.values)) < 60


@pytest.mark.slow
def test_records_tell_how_many_and_how_fast(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    found = content(run)
    stored = list(records(run[0]))
    assert all(record.status == OK for record in stored)
    times = [record.created_at for record in stored]
    span = (max(times) - min(times)).total_seconds()
    assert float(fact(found, "images/s by the clock").split(":")[0].replace(",", "")) == pytest.approx(
        6 / span, rel=0.01
    )
    assert fact(found, "batch size") == "4"
