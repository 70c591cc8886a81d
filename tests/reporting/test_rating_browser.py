"""The page of blind pairs in a real Chromium, opened from the disk: keys vote, votes last, and come as a file."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from darkroom.reporting.rating_page import write_page
from darkroom.reporting.rating_pairs import chosen_pairs
from darkroom.runs.ratings import RatedCell, Study, parsed_votes
from darkroom.storage.store import open_store, parse_spec
from tests.reporting.contents import HOSTILE
from tests.reporting.driving import Tab, browser
from tests.reporting.pages import CHROMIUM
from tests.reporting.runs import cell, rendered

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,
]

READY = "document.querySelector('.choices [data-choice=tie]').disabled === false"
COUNT = "document.getElementById('count').textContent"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Tab, Study, Path]]:
    folder = tmp_path_factory.mktemp("rating")
    cells = [cell(guidance_scale=scale) for scale in (1.0, 7.0)]
    store = rendered(folder / "run", [*HOSTILE, "a cat", "ein Fuchs im Schnee"], cells)[0]
    chosen = chosen_pairs({item.cell.cell_id: store for item in cells}, 6, 2, 0)
    study = Study("Which follows the text?", tuple(RatedCell(item.cell.cell_id, {}) for item in cells), chosen.pairs)
    write_page(study, chosen.rows, open_store(parse_spec(str(folder / "page"))), "")
    with browser(folder) as tab:
        yield tab, study, folder


def votes_of(folder: Path, study: Study, rater: str) -> list[tuple[int, str]]:
    """What was downloaded, as the run reads it."""
    path = folder / "downloads" / f"votes-{study.study_id}-{rater}.jsonl"
    deadline = time.monotonic() + 10
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    [file] = parsed_votes(path.read_bytes(), path.name)
    assert file.study_id == study.study_id
    assert all(vote.seconds is None or 0 <= vote.seconds < 60 for vote in file.votes)
    path.unlink()
    return [(vote.pair, vote.choice) for vote in file.votes]


def vote(tab: Tab, *keys: str) -> None:
    for key in keys:
        tab.wait(READY)
        tab.press(key)


def test_keys_vote_votes_outlast_the_page_and_are_downloaded(opened: tuple[Tab, Study, Path]) -> None:
    tab, study, folder = opened
    page = folder / "page" / "index.html"
    tab.open(page, READY)
    assert tab.evaluate(COUNT) == "1 of 8"
    assert tab.evaluate("document.getElementById('question').textContent") == "Which follows the text?"
    vote(tab, "ArrowLeft", "ArrowRight", "ArrowDown", "s", "2")
    vote(tab, "ArrowUp")  # back to the fifth, which says what was chosen
    tab.wait(READY)
    assert tab.evaluate(COUNT) == "5 of 8"
    assert tab.evaluate("document.querySelector('.choices .chosen').dataset.choice") == "right"
    vote(tab, "1")
    tab.open(page, READY)  # another day
    assert tab.evaluate(COUNT) == "6 of 8"
    tab.evaluate("document.getElementById('rater').focus()")
    tab.press("s", "2")  # a name, and no vote
    assert tab.evaluate(COUNT) == "6 of 8"
    tab.evaluate("document.activeElement.blur()")
    vote(tab, "ArrowLeft", "t", "ArrowRight")
    tab.wait("!document.getElementById('end').hidden")
    assert tab.evaluate(COUNT) == "8 of 8 pairs"
    tab.evaluate("document.getElementById('download').click()")
    choices = ["left", "right", "tie", "skip", "left", "left", "tie", "right"]
    assert votes_of(folder, study, "s2") == list(enumerate(choices))
    tab.press("ArrowUp")
    tab.wait(READY)
    assert tab.evaluate(COUNT) == "8 of 8"
    assert tab.console == []


def test_another_rater_begins_anew_without_a_name_and_text_stays_text(opened: tuple[Tab, Study, Path]) -> None:
    tab, study, folder = opened
    tab.open(folder / "page" / "index.html", "study.id")
    tab.evaluate("setTimeout(() => document.getElementById('restart').click())")
    tab.wait(f"{COUNT} === '1 of 8' && {READY}")
    prompts = []
    for _ in study.pairs:
        prompts.append(tab.evaluate("document.getElementById('prompt').textContent"))
        tab.evaluate("document.querySelector('.image[data-choice=left]').click()")
        tab.wait(f"!document.getElementById('end').hidden || {READY}")
    assert prompts == [pair.prompt for pair in study.pairs]
    assert tab.evaluate("window.hacked ?? null") is None
    session = tab.evaluate("state.session")
    assert len(session) == 16
    tab.evaluate("document.getElementById('download').click()")
    assert votes_of(folder, study, f"anonymous-{session}") == [(place, "left") for place in range(8)]


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 800)])
def test_a_pair_and_its_buttons_fit_in_a_window(opened: tuple[Tab, Study, Path], width: int, height: int) -> None:
    tab, _, folder = opened
    tab.resize(width, height)
    tab.evaluate("localStorage.clear()")
    tab.open(folder / "page" / "index.html", READY)
    shown = json.loads(tab.evaluate("""JSON.stringify({
        wide: document.documentElement.scrollWidth,
        boxes: [...document.querySelectorAll('.images img, main .choices button')]
            .map((each) => each.getBoundingClientRect().toJSON()),
        words: document.querySelector('main .choices button').innerText,
    })"""))  # fmt: skip
    assert shown["wide"] <= width
    assert all(
        0 <= box["left"] < box["right"] <= width and 0 <= box["top"] < box["bottom"] <= height for box in shown["boxes"]
    )
    assert ("Upper" if width < 640 else "Left") in shown["words"]
    first, second = shown["boxes"][:2]
    assert first["bottom"] <= second["top"] if width < 640 else first["right"] <= second["left"]
    tab.screenshot(folder / f"{width}.png")


def test_a_pair_whose_image_is_missing_can_only_be_skipped(opened: tuple[Tab, Study, Path]) -> None:
    tab, _, folder = opened
    lost = folder / "page" / "images" / "00002-right.png"
    data = lost.read_bytes()
    lost.unlink()
    try:
        tab.evaluate("localStorage.clear()")
        tab.open(folder / "page" / "index.html", READY)
        tab.press("1")
        tab.wait("!document.getElementById('fault').hidden")
        tab.press("1")
        assert tab.evaluate(COUNT) == "2 of 8"
        tab.press("s")
        tab.wait(f"{COUNT} === '3 of 8'")
    finally:
        lost.write_bytes(data)
