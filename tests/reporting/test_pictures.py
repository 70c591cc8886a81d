"""Pictures of real runs of the paint renderer: their records, thumbnails and full images."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.reporting.building import ReportOptions, build
from darkroom.reporting.content import check
from darkroom.reporting.pictures import SIDE, contact_sheet, thumbnail
from darkroom.runs.layouts import LAYOUTS
from darkroom.runs.reading import records
from tests.reporting.contents import HOSTILE
from tests.reporting.runs import cell, content, rendered
from tests.runs.stores import CountingStore

PROMPTS = [f"prompt {number}" for number in range(10)]
CELLS = [cell(guidance_scale=scale, scheduler=name) for scale in (7.5, 1.0) for name in ("euler", "ddim")]


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_has_thumbnails_and_each_object_is_fetched_once(tmp_path: Path, layout: str) -> None:
    store, info, cells = rendered(tmp_path, PROMPTS, CELLS[:2], layout)
    counting = CountingStore(store)
    found = build(counting, info, cells, ReportOptions(run_href=".."))
    assert all(picture.thumbnail for picture in found.pictures)
    assert {count for key, count in counting.fetched.items() if key.startswith("images/")} == {1}
    assert all((picture.image_href is None) == (layout != "files") for picture in found.pictures)


@pytest.mark.slow
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


@pytest.mark.slow
def test_hostile_prompts_are_kept_as_they_are(tmp_path: Path) -> None:
    run = rendered(tmp_path, [*HOSTILE, "x" * 10_000], column=[*HOSTILE, "plain"])
    found = content(run)
    check(found)
    assert [picture.prompt for picture in found.pictures][:-1] == list(HOSTILE)
    assert len(found.pictures[-1].prompt) < 3000


def test_a_thumbnail_is_small_and_never_enlarged() -> None:
    small = Image.open(io.BytesIO(thumbnail(np.zeros((600, 1200, 3), np.uint8))))
    assert (small.format, small.size) == ("WEBP", (SIDE, SIDE // 2))


@pytest.mark.slow
def test_a_contact_sheet_has_every_image_in_rows_of_eight(tmp_path: Path) -> None:
    store, _, _ = rendered(tmp_path, PROMPTS)
    images = [(record, np.full((16, 24, 3), 90, np.uint8)) for record in records(store)]
    one, all_ten = (Image.open(io.BytesIO(contact_sheet(shown))) for shown in (images[:1], images))
    assert (one.format, one.mode) == ("PNG", "RGB")
    assert all_ten.width - 12 == 8 * (one.width - 12)
    assert all_ten.height - 12 == 2 * (one.height - 12)
    left, right = all_ten.crop((0, 12, one.width, 12 + 144)), all_ten.crop((7 * 156, 12, all_ten.width, 12 + 144))
    assert left.getcolors() == right.getcolors()
    assert (96 * 144, (90, 90, 90)) in left.getcolors()
