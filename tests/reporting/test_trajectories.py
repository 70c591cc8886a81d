"""How pictures form, on the page: strips of stored trajectories, noise of their levels, and what cannot be shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from darkroom.domain.trajectories import FINISHED, TrajectoryStep
from darkroom.reporting.content import Forming
from darkroom.reporting.trajectories import FindReference, ReferencePicture, forming, noised
from darkroom.runs.files import TRAJECTORIES_PREFIX
from darkroom.runs.run import RunInfo
from darkroom.storage.store import Store
from tests.engine.helpers import CELL
from tests.engine.test_trajectories import STEPS, render
from tests.reporting.contents import sweep
from tests.reporting.pages import CHROMIUM, run_page, write_report

REFERENCE = ReferencePicture("photos", np.full((40, 60, 3), 200, np.uint8))


@pytest.fixture
def run(tmp_path: Path) -> tuple[Store, RunInfo]:
    return render(tmp_path)


def shown(run: tuple[Store, RunInfo], find: FindReference = lambda: None) -> Forming | None:
    return forming(*run, {CELL.cell_id}, "..", find)


def test_a_strip_an_image_and_the_reference_with_noise_of_its_levels(run: tuple[Store, RunInfo]) -> None:
    found = shown(run, lambda: REFERENCE)
    assert found
    assert [strip.prompt for strip in found.strips] == ["one", "two"]
    assert {strip.steps for strip in found.strips} == {STEPS}
    assert all(run[0].get((strip.href or "").removeprefix("../")) for strip in found.strips)
    assert [each.steps for each in found.noised] == [STEPS]
    assert (found.reference, found.notes) == ("photos", ())


def test_what_cannot_be_shown_is_named(run: tuple[Store, RunInfo]) -> None:
    store, info = run
    lost, spoiled = [each.key for each in store.list(TRAJECTORIES_PREFIX)]
    store.delete([lost])
    found = shown(run, lambda: "the reference is gone")
    assert found
    assert len(found.strips) == 1
    assert lost in found.notes[0]
    assert found.notes[1] == "the reference is gone"
    store.put(spoiled, b"no picture")
    without = shown(run, pytest.fail)  # nothing is looked for where nothing is shown
    assert without
    assert (without.strips, len(without.notes)) == ((), 2)
    assert shown((store, replace(info, output=replace(info.output, trajectory_prompts=None)))) is None


def test_noise_is_added_as_the_levels_say() -> None:
    """Of unit variance where x_0 is, at whatever level; none at the end."""
    random = np.random.default_rng(1)
    pixels = (random.standard_normal((64, 64, 3)) * 20 + 127.5).round().clip(0, 255).astype(np.uint8)
    assert np.array_equal(noised(pixels, FINISHED), pixels)
    half = noised(pixels, TrajectoryStep(3, 500.0, 0.3, 0.6, 0.2)) / 127.5 - 1
    x_0 = pixels / 127.5 - 1
    assert np.std(half - 0.6 * x_0) == pytest.approx(0.2, rel=0.03)
    assert abs(np.corrcoef((half - 0.6 * x_0).ravel(), x_0.ravel())[0, 1]) < 0.03
    all_noise = noised(pixels, TrajectoryStep(1, 999.0, 157.0, 0.0, 0.4)) / 127.5 - 1
    assert np.std(all_noise) == pytest.approx(0.4, rel=0.04)


DRIVE = """
const about = (each) => [each.querySelector('figcaption').textContent,
  each.querySelectorAll('.strip-heads > span').length, each.querySelector('img').getAttribute('src')];
const shown = () => [...document.querySelectorAll('#forming .strip')].map(about);
const found = { first: shown() };
const [prompt, left] = document.querySelectorAll('#forming select');
left.selectedIndex = 1; left.dispatchEvent(new Event('change'));
found.other = shown();
found.address = location.hash;
found.text = document.querySelector('#forming .prompt').textContent;
found.hacked = window.hacked ?? null;
return found;
"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")
def test_two_cells_are_side_by_side_and_any_others_by_choice(run: tuple[Store, RunInfo], tmp_path: Path) -> None:
    content, found = sweep(num_scores=10), shown(run, lambda: REFERENCE)
    assert found
    strips = tuple(
        replace(strip, cell_id=cell.cell_id, image_id=f"{strip.image_id[:8]}-{place}", prompt=f"<b>{strip.prompt}</b>")
        for place, cell in enumerate(content.cells)
        for strip in found.strips
    )
    page = write_report(replace(content, forming=replace(found, strips=strips)), tmp_path / "page")
    driven, console = run_page(page.parent, DRIVE)
    assert console == []
    headings = [heading for heading, *_ in driven["first"]]
    assert headings[0].startswith("guidance_scale 1.5,")
    assert headings[1].startswith("guidance_scale 12,")
    assert headings[0].split(",")[1:] == headings[1].split(",")[1:]  # all else is equal
    assert headings[2] == "Forward noising of a reference image (photos)"
    assert [columns for _, columns, _ in driven["first"]] == [len(STEPS)] * 3
    assert driven["other"][0] != driven["first"][0]
    assert driven["other"][1:] == driven["first"][1:]
    assert "forming.left" in driven["address"]
    assert driven["text"] == "<b>one</b>"
    assert {Image.open(page.parent / picture).format for *_, picture in driven["first"]} == {"WEBP"}
