import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.content import Axis, CellResult, Cost, ReportContent
from darkroom.reporting.summary import markdown, summary
from tests.reporting.contents import HOSTILE, metric, plain_run, sweep


def test_figures_intervals_marks_and_warnings() -> None:
    cells = (
        CellResult("aaaaaaaaaa", {}, 1000, 2, {"fid": Figure(12.346, 12.0, 12.7, 1000, 5000, ("too few images",))}),
        CellResult("bbbbbbbbbb", {}, 1000, 0, {"fid": Figure(11.0, None, None, 1000)}),
    )
    text = summary(ReportContent("T", (), "darkroom sweep", (), cells, (metric("fid", "FID", False),)))
    assert "| bbbbbbbb | 1,000 | 0 | **11.00** |" in text
    assert "| aaaaaaaa † | 1,000 | 2 | 12.35 (12.00 – 12.70) ⚠ |" in text
    assert "⚠ FID of aaaaaaaa: too few images" in text
    assert text.index("aaaaaaaa †") < text.index("bbbbbbbb |")


@pytest.mark.slow
def test_a_sweep_is_one_table_and_no_html_link_or_image() -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(summary(sweep()))
    rows = [token for token in tokens if token.type == "tr_open"]
    assert len(rows) == 1 + 45
    children = [child for token in tokens for child in token.children or ()]
    assert {child.type for child in children} <= {"text", "text_special", "softbreak", "strong_open", "strong_close"}
    assert not [token for token in tokens if token.type == "html_block"]


@pytest.mark.slow
def test_the_best_of_each_metric_is_bold_once_in_the_table() -> None:
    rows = [line for line in summary(sweep()).splitlines() if line.startswith("| ")]
    assert sum(len(re.findall(r"\*\*[^*]+\*\*", row)) for row in rows) == 3


@pytest.mark.slow
def test_long_sweeps_are_cut_and_say_so() -> None:
    content = sweep()
    more = tuple(replace(cell, cell_id=cell.cell_id + "x") for cell in content.cells)
    assert "The best 50 of 90 cells." in summary(replace(content, cells=content.cells + more))


def test_a_plain_run_has_no_winners() -> None:
    text = summary(plain_run())
    assert text.startswith("# Plain run\n")
    assert "Best" not in text
    assert "    darkroom generate\n" in text


def test_differences_from_the_best_have_a_table_and_say_what_is_not_told_apart() -> None:
    figures = {"a": Figure(11.0, 10.0, 12.0, 9), "b": Figure(11.3, 10.0, 12.5, 9), "c": Figure(11.1, 10.0, 12.5, 9)}
    gaps = {"b": {"fid": Gap("a", 0.3, 0.1, 0.5, 9)}, "c": {"fid": Gap("a", 0.1, -0.2, 0.4, 9)}}
    axis = Axis("guidance_scale", (1.0, 2.0, 3.0))
    cells = tuple(
        CellResult(name, {"guidance_scale": place + 1.0}, 9, 0, {"fid": figure}, gaps.get(name, {}))
        for place, (name, figure) in enumerate(figures.items())
    )
    text = summary(ReportContent("T", (), "darkroom sweep", (axis,), cells, (metric("fid", "FID", False),)))
    assert "- Best FID: 1, **11.00 (10.00 – 12.00)**; not told apart from it: 3\n" in text
    assert "| c | 3 | 9 | 0 | 11.10 (10.00 – 12.50) ≈ |" in text
    assert "| a | 1 | best |" in text
    assert "| b | 2 | +0.3000 (0.1000 to 0.5000) |" in text
    assert "| c | 3 | +0.1000 (-0.2000 to 0.4000) ≈ |" in text


def test_a_best_that_nothing_tells_apart_is_none() -> None:
    axis, fid = Axis("guidance_scale", (1.0, 2.0)), metric("fid", "FID", False)
    figures = (Figure(11.0, 10.0, 12.0, 9), Figure(11.5, 10.0, 12.0, 9))

    def said(*figures: Figure) -> str:
        cells = tuple(
            CellResult(f"c{place}", {"guidance_scale": place + 1.0}, 9, 0, {"fid": figure})
            for place, figure in enumerate(figures)
        )
        return summary(ReportContent("T", (), "darkroom sweep", (axis,), cells, (fid,)))

    level = said(figures[0], figures[0])
    assert "- No best FID: 2 cells are equal, **11.00 (10.00 – 12.00)**\n" in level
    assert level.count("| 11.00 (10.00 – 12.00) = |") == 2
    assert "=: equal in all cells." in level
    assert "- No best FID: 1, **11.00 (10.00 – 12.00)**; not told apart from it: 2\n" in said(*figures)
    bare = said(*(Figure(value, None, None, 9) for value in (11.0, 12.0)))
    assert "- Best FID: 1, **11.00**; without an interval, so that chance may have chosen it\n" in bare


def test_cells_made_faster_say_what_they_gain_and_lose() -> None:
    cells = (CellResult("a", {}, 9, 0, {"fid": Figure(11.0, 10.0, 12.0, 9)}), CellResult("b", {}, 9, 0, {}))
    costs = (
        Cost("b", {"cache_interval": 3}, "a", 1.834, {"fid": Gap("a", 0.5, 0.25, 0.75, 9)}),
        Cost("c", {"guidance_stop": 0.5}, None, None, {}),
    )
    content = ReportContent("T", (), "darkroom sweep", (), cells, (metric("fid", "FID", False),), costs=costs)
    text = summary(content)
    assert "| cell | with | as fast | Δ FID ↓ |" in text
    assert "| b | cache_interval=3 | 1.83x | +0.5000 (0.2500 to 0.7500) |" in text
    assert "| c | guidance_stop=0.5 | – | – |" in text
    assert "\n–: not known, where the run has no such cell; add it to the grid.\n" in text
    assert "Cost of lossy settings" not in summary(replace(content, costs=()))


def _shown(source: str) -> str:
    """The text that a Markdown reader shows for one cell of a table; anything but text fails."""
    reader = MarkdownIt("gfm-like", {"linkify": False})
    inline = [
        token for token in reader.parse(f"| a | b |\n| --- | --- |\n| {source} | end |") if token.type == "inline"
    ]
    assert [token.content for token in inline[3:]] == ["end"], "the text made table cells of its own"
    children = inline[2].children or []
    assert {child.type for child in children} <= {"text", "text_special"}
    return "".join(child.content for child in children)


_TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs"))) | st.text("`|*_<>[]()\\!#@~&;:/w. a", max_size=20)


@given(_TEXTS | st.sampled_from(HOSTILE))
def test_markdown_shows_any_text_as_it_stands_in_one_table_cell(text: str) -> None:
    shown = _shown(markdown(f"x{text}x")).replace("\u200b", "")
    assert shown == " ".join(f"x{text}x".split()).replace("\u200b", "")


def test_markdown_breaks_mentions_references_and_links() -> None:
    written = markdown("ping @someone see #12 at https://a.example or www.b.example\n## no heading")
    assert "@someone" not in written
    assert "#12" not in written
    assert "://" not in written
    assert "www." not in written
    assert "\n" not in written


def test_rows_of_known_images_stand_below_the_cells_and_win_nothing() -> None:
    control = CellResult("shuffled prompts", {}, 60, 0, {"fid": Figure(0.001, None, None, 60, is_ranked=False)})
    before, after = summary(sweep()), summary(replace(sweep(), controls=(control,)))
    added = [line for line in after.splitlines() if line not in before.splitlines()]
    assert added == ["| *shuffled prompts* |  |  |  | 60 |  | 0.00 | – | – |"]
