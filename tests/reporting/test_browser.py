"""The page in a real Chromium, opened from the disk: it draws, sorts, opens records, and hostile text stays text."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.reporting.contents import HOSTILE, PROMPTS, plain_run, sweep
from tests.reporting.pages import CHROMIUM, run_page, write_report

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium"),
    pytest.mark.slow,
]

SWEEP = """
const rows = () => [...document.querySelectorAll('#cells-table tbody tr')];
const column = (at) => rows().map((row) => Number(row.cells[at].dataset.value));
const heading = (at) => document.querySelectorAll('#cells-table thead button')[at];
const shown = {
  plots: [...document.querySelectorAll('.plot')].map((plot) => [plot.id, plot.querySelectorAll('svg').length > 0]),
  lazy: [...document.querySelectorAll('#sheet img')].every((image) => image.loading === 'lazy'),
  tiles: document.querySelectorAll('#sheet .tile').length,
  front: document.getElementById('tradeoff-note').textContent,
};
heading(6).click(); shown.fid = column(6);
heading(7).click(); shown.clip = column(7);
heading(7).click(); shown.clipAgain = column(7);
document.getElementById('hide-dominated').click();
shown.visible = rows().filter((row) => row.offsetParent !== null).map((row) => row.className);
shown.texts = [];
for (let turn = 0; turn < 12; turn += 1) {
  shown.texts.push(document.querySelector('#sheet .prompt').textContent);
  document.querySelector('#sheet [aria-label="Next prompt"]').click();
}
document.querySelector('#sheet .tile').click();
const dialog = document.querySelector('dialog');
shown.dialog = { open: dialog.open, heading: dialog.querySelector('h2').textContent, code: dialog.querySelector('code').textContent, pairs: dialog.querySelectorAll('dt').length };
const press = (key) => dialog.dispatchEvent(new KeyboardEvent('keydown', { key, bubbles: true }));
press('ArrowRight'); shown.dialog.next = dialog.querySelector('code').textContent;
press('ArrowDown'); shown.dialog.below = dialog.dataset.image;
press('p'); shown.dialog.before = dialog.dataset.image;
shown.address = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
dialog.close();
document.querySelector('[data-tied=fid]').click();
shown.tied = rows().filter((row) => row.offsetParent !== null).map((row) => row.dataset.cell);
shown.count = document.getElementById('cells-count').textContent;
const search = document.getElementById('search');
const find = (text) => { search.value = text; search.dispatchEvent(new Event('input')); return document.getElementById('search-found').textContent; };
shown.found = [find('SQUARE red'), document.querySelector('#sheet .prompt').textContent];
shown.lost = [find('no such words'), document.querySelectorAll('#sheet .tile').length, document.querySelectorAll('#picks .tile').length];
find('');
document.querySelector('[data-failure="2"]').click();
shown.failure = dialog.querySelector('h2').textContent;
dialog.close();
const columns = document.querySelector('#breakdown-choosers select');
columns.selectedIndex = [...columns.options].findIndex((option) => option.text === 'hostile');
columns.dispatchEvent(new Event('change'));
shown.ticks = [...document.querySelectorAll('#breakdown-plot .ytick text')].map((tick) => tick.textContent);
shown.plotLinks = document.querySelectorAll('.plot a').length;
rows()[3].querySelector('button').click();
shown.chosen = document.querySelectorAll('tr.chosen').length;
shown.images = [...document.images].filter((image) => !image.getAttribute('src').startsWith('thumbnails/')).length;
shown.links = [...document.links].map((link) => link.getAttribute('href')).filter((href) => !href.startsWith('#'));
shown.hacked = window.hacked ?? null;
return shown;
"""  # noqa: E501


@pytest.fixture(scope="module")
def driven(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, list[str]]:
    content = sweep(num_scores=40)
    kinds = dict(content.breakdown) | {"hostile": dict.fromkeys(HOSTILE, content.breakdown["length"]["long"])}
    content = replace(content, breakdown=kinds, title=HOSTILE[0])
    return run_page(write_report(content, tmp_path_factory.mktemp("sweep")).parent, SWEEP)


def test_the_console_stays_silent(driven: tuple[dict, list[str]]) -> None:
    assert driven[1] == []


def test_all_plots_draw_and_pictures_load_lazily(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    names = ("tradeoff", "heatmap", "along", "scores", "breakdown")
    assert shown["plots"] == [[f"{name}-plot", True] for name in names]
    assert shown["lazy"]
    assert shown["tiles"] == 3 * 5
    assert "3 · dpm++2m · 40" in shown["front"]


def test_columns_sort_best_first_then_the_other_way(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    assert len(shown["fid"]) == 45
    assert shown["fid"] == sorted(shown["fid"])
    assert shown["clip"] == sorted(shown["clip"], reverse=True)
    assert shown["clipAgain"] == sorted(shown["clip"])


def test_grey_cells_can_be_hidden(driven: tuple[dict, list[str]]) -> None:
    visible = driven[0]["visible"]
    assert 0 < len(visible) < 45
    assert not [kind for kind in visible if "dominated" in kind]


def test_a_picture_opens_its_record_and_its_verify_command(driven: tuple[dict, list[str]]) -> None:
    dialog = driven[0]["dialog"]
    assert dialog["open"]
    assert dialog["code"].startswith("darkroom verify image_id=")
    assert dialog["pairs"] == 24
    assert dialog["next"] != dialog["code"]


def test_keys_walk_down_a_column_and_to_another_prompt(driven: tuple[dict, list[str]]) -> None:
    """From the second column's first picture, of the last prompt; the cell stays where the prompt changes."""
    dialog = driven[0]["dialog"]
    cell, _, row = dialog["below"].rpartition("-")
    assert dialog["below"] != dialog["next"].partition("=")[2]
    assert dialog["before"] == f"{cell}-{int(row) - 1}"


def test_the_address_holds_what_is_looked_at(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    address = shown["address"]
    assert address["image"] == shown["dialog"]["before"]
    assert (address["sort"], address["order"], address["grey"]) == ("clip_score", "ascending", "hidden")
    assert address["held.prompt"] == "p10"


def test_a_card_shows_the_cells_that_share_the_best(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    assert 1 < len(shown["tied"]) < 45
    assert shown["count"] == f"{len(shown['tied'])} of 45 cells"


def test_prompts_are_searched_by_their_words(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    assert shown["found"] == ["1 of the 12 prompts on this page", PROMPTS[0]]
    assert shown["lost"] == ["0 of the 12 prompts on this page", 0, 0]


NARROW = """
const shownRows = [...document.querySelectorAll('#cells-table tbody tr')].filter((row) => !row.hidden);
const wide = [...document.querySelectorAll('body *')].filter((each) => !each.closest('.wide, nav, .export') && each.getBoundingClientRect().right > document.documentElement.clientWidth + 1);
return {
  width: innerWidth, overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth, wide: wide.map((each) => each.outerHTML.slice(0, 80)),
  rows: shownRows.map((row) => row.dataset.cell), sorted: document.querySelector('[aria-sort]').dataset.name,
  chosen: document.querySelector('tr.chosen').dataset.cell, image: document.querySelector('dialog').dataset.image,
  prompt: document.querySelector('#sheet .prompt').textContent, across: document.querySelector('#tradeoff-choosers select').value,
};
"""  # noqa: E501


def test_an_address_shows_on_a_telephone_what_it_says(tmp_path: Path) -> None:
    """And whatever else an address says does no harm."""
    content = sweep(num_scores=40)
    kept = [cell.cell_id for cell in content.cells if cell.settings["scheduler"] == "euler"]
    image = f"{kept[0]}-3"
    address = f"#at=cells&sort=fid&only.scheduler=euler&cell={kept[1]}&image={image}&held.prompt=p4&tradeoff.x=kid"
    index = write_report(content, tmp_path)
    shown, console = run_page(index.parent, NARROW, f"{address}&rows=nothing&tradeoff.y=%3Cb%3E&size=9", width=390)
    assert console == []
    assert sorted(shown["rows"]) == sorted(kept)
    assert (shown["sorted"], shown["chosen"], shown["image"]) == ("fid", kept[1], image)
    assert (shown["prompt"], shown["across"]) == (PROMPTS[4], "KID")
    assert (shown["overflow"], shown["wide"]) == (0, [])


def test_hostile_text_is_shown_and_never_runs(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    assert set(HOSTILE) <= set(shown["texts"])
    assert shown["failure"] in HOSTILE
    assert shown["hacked"] is None
    assert (shown["images"], shown["links"]) == (0, ["table.csv", "table.tex"])
    assert shown["chosen"] == 1


def test_plots_show_hostile_text_as_text(driven: tuple[dict, list[str]]) -> None:
    """Plotly reads a kind of HTML in its labels."""
    shown, _ = driven
    assert HOSTILE[0] in shown["ticks"]
    assert HOSTILE[1] in shown["ticks"]
    assert shown["plotLinks"] == 0


@pytest.mark.slow
def test_a_plain_run_opens_without_plots_and_the_policy_stops_scripts_in_it(tmp_path: Path) -> None:
    """The policy is the second wall, should escaping ever fail: an inline script and an inline handler do not run."""
    script = """
    const count = (selector) => document.querySelectorAll(selector).length;
    const shown = { tiles: count('#sheet .tile'), plots: count('.plot') };
    const inline = document.createElement('script'); inline.textContent = 'window.hacked = 1';
    document.body.append(inline);
    const button = document.createElement('button'); button.setAttribute('onclick', 'window.hacked = 2');
    document.body.append(button); button.click();
    return { ...shown, hacked: window.hacked ?? null };
    """
    shown, console = run_page(write_report(plain_run(), tmp_path).parent, script)
    assert shown == {"tiles": 3, "plots": 0, "hacked": None}
    assert [line for line in console if "Content Security Policy" not in line] == []
    assert len(console) == 2
