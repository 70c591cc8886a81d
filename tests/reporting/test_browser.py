"""The page in a real Chromium, opened from the disk: it draws, sorts, opens records, and hostile text stays text."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.reporting.contents import HOSTILE, plain_run, sweep
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
dialog.dispatchEvent(new KeyboardEvent('keydown', { key: 'ArrowRight' }));
shown.dialog.next = dialog.querySelector('code').textContent;
dialog.close();
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


def test_hostile_text_is_shown_and_never_runs(driven: tuple[dict, list[str]]) -> None:
    shown, _ = driven
    assert set(HOSTILE) <= set(shown["texts"])
    assert shown["failure"] in HOSTILE
    assert shown["hacked"] is None
    assert (shown["images"], shown["links"]) == (0, [])
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
