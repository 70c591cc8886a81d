"""Content from real runs of the paint renderer: what it says is what is stored."""

import io
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK
from darkroom.reporting.building import ReportOptions, build
from darkroom.reporting.content import ReportContent, check
from darkroom.reporting.data import metrics_table
from darkroom.reporting.pictures import SIDE, thumbnail
from darkroom.reporting.summary import summary
from darkroom.runs import manifest
from darkroom.runs.present import present_images
from darkroom.runs.reading import records
from darkroom.worker.layouts import LAYOUTS
from tests.reporting.contents import HOSTILE
from tests.reporting.runs import CLIP, FID, KID, cell, content, evaluate, rendered, score
from tests.runs.test_reading import CountingStore

PROMPTS = [f"prompt {number}" for number in range(10)]
CELLS = [cell(guidance_scale=scale, scheduler=name) for scale in (7.5, 1.0) for name in ("euler", "ddim")]


def fact(found: ReportContent, name: str) -> str:
    return dict(found.facts)[name]


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


def test_one_image_is_a_report_too(tmp_path: Path) -> None:
    found = content(rendered(tmp_path, ["one"]))
    check(found)
    assert len(found.pictures) == 1
    assert "images/s by the clock" not in dict(found.facts)


def test_a_run_without_a_committed_shard_is_refused(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:4], unfinished=1)
    with pytest.raises(DarkroomError, match="no shard is committed"):
        content(run)


def test_axes_are_short_and_cells_stand_in_their_order(tmp_path: Path) -> None:
    found = content(rendered(tmp_path, PROMPTS, CELLS))
    check(found)
    assert [(axis.name, axis.values) for axis in found.axes] == [
        ("guidance_scale", (1.0, 7.5)),
        ("scheduler", ("ddim", "euler")),
    ]
    settings = [(result.settings["guidance_scale"], result.settings["scheduler"]) for result in found.cells]
    assert settings == [(1.0, "ddim"), (7.5, "ddim"), (1.0, "euler"), (7.5, "euler")]
    assert found.title == "Sweep of darkroom/paint on test"


def test_chosen_prompts_are_the_same_in_every_cell_and_every_time(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS, CELLS, images=2)
    found = content(run, num_prompts=3)
    shown = Counter(picture.prompt for picture in found.pictures)
    assert set(shown.values()) == {len(CELLS) * 2}
    assert len(shown) == 3
    assert found.pictures == content(run, num_prompts=3).pictures
    assert any("3 of 10 prompts" in note for note in found.notes)


def test_a_picture_is_its_record_with_its_command_and_its_image(tmp_path: Path) -> None:
    run = rendered(tmp_path, ["one", "two"], category=["x", "y"])
    found = content(run, run_href="..")
    by_id = {record.image_id: record for record in records(run[0])}
    for picture in found.pictures:
        record = by_id[picture.image_id]
        assert picture.image_href == f"../{record.key}"
        assert picture.record["sha256"] == record.sha256
        assert picture.record["category"] in "xy"
        assert picture.verify_command == f"darkroom verify run={tmp_path} image_id={record.image_id}"
        assert Image.open(io.BytesIO(picture.thumbnail)).size == (16, 16)
    assert all(picture.image_href is None for picture in content(run).pictures)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_thumbnails_and_each_object_is_fetched_once(tmp_path: Path, layout: str) -> None:
    store, info, cells = rendered(tmp_path, PROMPTS, CELLS[:2], layout)
    counting = CountingStore(store)
    found = build(counting, info, cells, ReportOptions(run_href=".."))
    assert all(picture.thumbnail for picture in found.pictures)
    assert {count for key, count in counting.fetched.items() if key.startswith("images/")} == {1}
    assert all((picture.image_href is None) == (layout != "files") for picture in found.pictures)


def test_missing_and_broken_images_are_said_and_cost_no_report(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    first, second = (tmp_path / record.key for record in list(records(run[0]))[:2])
    first.unlink()
    second.write_bytes(b"no image")
    found = content(run)
    check(found)
    assert sum(picture.thumbnail is None for picture in found.pictures) == 2
    [note] = [note for note in found.notes if "2 stored images are missing or not what was committed" in note]
    assert f"{first}: its file is missing" in note
    assert f"{second}: its file is not what was committed" in note


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


def test_a_hundred_failures_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    found = content(rendered(tmp_path, [f"fail alone {number}" for number in range(108)]))
    assert len(found.failures) == 100
    assert found.cells[0].num_failed == 108
    assert any("first 100 of 108" in note for note in found.notes)


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


def test_a_hessel_score_is_two_and_a_half_cosines_and_never_below_zero(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:4])
    score(run[0], dict(zip(PROMPTS, [-0.2, 0.1, 0.2, 0.4], strict=False)))
    evaluate(run[0], run[2], replace(CLIP, convention="hessel: mean of 2.5 max(cos, 0)"))
    found = content(run)
    assert sorted(found.scores[found.cells[0].cell_id]) == pytest.approx([0, 0.25, 0.5, 1.0])


def test_scores_that_are_no_number_are_left_out(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS[:4])
    score(run[0], dict.fromkeys(PROMPTS, math.nan))
    evaluate(run[0], run[2], CLIP)
    found = content(run)
    check(found)
    assert (found.scores, found.picks.best) == ({}, ())


def test_columns_with_many_values_long_values_or_lists_group_nothing(tmp_path: Path) -> None:
    prompts = [f"prompt {number}" for number in range(32)]
    columns = {"many": list(range(32)), "long": ["x" * 99, "y"] * 16, "list": [[1], [2]] * 16, "few": [1.5, None] * 16}
    run = rendered(tmp_path, prompts, **columns)
    score(run[0])
    evaluate(run[0], run[2], CLIP)
    assert {name: set(values) for name, values in content(run).breakdown.items()} == {"few": {"1.5", "(none)"}}


def test_a_setting_that_rows_override_groups_them_unless_cells_differ_in_it(tmp_path: Path) -> None:
    run = rendered(tmp_path / "a", PROMPTS, [cell(), cell(scheduler="ddim")], num_inference_steps=[5, 7] * 5)
    score(run[0])
    evaluate(run[0], run[2], CLIP)
    assert set(content(run).breakdown["num_inference_steps"]) == {"5", "7"}
    run = rendered(tmp_path / "b", PROMPTS, [cell(num_inference_steps=5), cell(num_inference_steps=7)])
    score(run[0])
    evaluate(run[0], run[2], CLIP)
    assert content(run).breakdown == {}


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


def test_a_figure_that_is_older_than_images_is_said(tmp_path: Path) -> None:
    store, _, cells = rendered(tmp_path, PROMPTS, unfinished=1)
    before = present_images(store, manifest.committed(store))
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


def test_a_figure_of_images_that_were_made_again_since_is_said(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    store, _, cells = run
    score(store)
    evaluate(store, cells, CLIP)
    assert not any("older" in note or "score of the file" in note for note in content(run).notes)
    name = next(iter(manifest.committed(store)))
    before = store.get(name.key)
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


def test_damaged_features_cost_their_scores_alone(tmp_path: Path) -> None:
    run = rendered(tmp_path, PROMPTS)
    store, _, cells = run
    score(store)
    evaluate(store, cells, CLIP)
    key = next(info.key for info in store.list("features/"))
    store.put(key, store.get(key)[:-20])
    assert any("have no score of the file" in note for note in content(run).notes)


def test_scores_are_subsampled_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.reporting.survey.MOST_SCORES", 4)
    run = rendered(tmp_path, PROMPTS)
    cosines = score(run[0])
    evaluate(run[0], run[2], CLIP)
    found = content(run)
    lowest = sorted(cosines)[:4]
    assert list(*found.scores.values()) == pytest.approx([100 * cosines[name] for name in lowest], abs=1e-4)


def test_long_texts_on_an_axis_are_cut_and_stay_apart(tmp_path: Path) -> None:
    texts = ["", "blurry, " * 20 + "one", "blurry, " * 20 + "two"]
    found = content(rendered(tmp_path, PROMPTS[:4], [cell(negative_prompt=text) for text in texts]))
    check(found)
    [axis] = found.axes
    assert len(set(axis.values)) == 3
    assert "(none)" in axis.values
    assert max(map(len, axis.values)) < 60


def test_hostile_prompts_are_kept_as_they_are(tmp_path: Path) -> None:
    run = rendered(tmp_path, [*HOSTILE, "x" * 10_000], column=[*HOSTILE, "plain"])
    found = content(run)
    check(found)
    assert [picture.prompt for picture in found.pictures][:-1] == list(HOSTILE)
    assert len(found.pictures[-1].prompt) < 3000


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


def test_a_thumbnail_is_small_and_never_enlarged() -> None:
    small = Image.open(io.BytesIO(thumbnail(np.zeros((600, 1200, 3), np.uint8))))
    assert (small.format, small.size) == ("WEBP", (SIDE, SIDE // 2))
