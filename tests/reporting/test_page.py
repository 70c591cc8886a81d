import json
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import Figure, Gap
from darkroom.reporting.content import Cost, Picks, ReportContent
from darkroom.reporting.page import page
from tests.reporting.contents import HOSTILE, METRICS, PROMPTS, plain_run, sweep
from tests.reporting.pages import write_report


class Reader(HTMLParser):
    """The page as a browser parses it: its elements, and the text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def data(page: str) -> dict:
    """What the page's scripts work on."""
    start = page.index('id="data">') + len('id="data">')
    return json.loads(page[start : page.index("</script>", start)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(sweep(), tmp_path_factory.mktemp("report")).parent


@pytest.fixture(scope="module")
def reader(folder: Path) -> Reader:
    return Reader((folder / "index.html").read_text())


def sections(content: ReportContent) -> list[str | None]:
    return [section["id"] for section in Reader(page(content, {})).all("section")]


@pytest.mark.slow
def test_the_folder_holds_all_that_the_page_needs(folder: Path, reader: Reader) -> None:
    for script in reader.all("script"):
        assert script.get("type") == "application/json" or (folder / str(script["src"])).stat().st_size > 0
    for link in reader.all("link"):
        assert (folder / str(link["href"])).is_file()
    assert {"index.html", "report.md", "metrics.parquet", "thumbnails"} <= {path.name for path in folder.iterdir()}
    assert len(list((folder / "thumbnails").glob("*.jpg"))) == 45 * 12


def test_nothing_of_ours_calls_a_network() -> None:
    for asset in (files("darkroom.reporting") / "assets").iterdir():
        text = asset.read_text()
        assert not [word for word in ("http:", "https:", "fetch(", "import(", "XMLHttp", "innerHTML") if word in text]


@pytest.mark.slow
def test_every_section_is_there(reader: Reader) -> None:
    names = ["glance", "sheet", "picks", "cells", "tradeoff", "heatmap", "along", "scores", "breakdown"]
    names += ["failed", "dropped", "run", "methods"]
    assert [section["id"] for section in reader.all("section")] == names
    links = [str(link["href"]) for link in reader.all("a")][1:]
    assert [link for link in links if link.startswith("#")] == [f"#{name}" for name in names]
    assert [link for link in links if not link.startswith("#")] == ["table.csv", "table.tex"]


def test_hostile_text_makes_no_element_attribute_or_script(reader: Reader) -> None:
    assert [script.get("src") for script in reader.all("script")] == [
        "plotly.min.js", "report.js", "cells.js", "plots.js", "pictures.js", "sheet.js", "forming.js", None,
    ]  # fmt: skip
    assert not reader.all("img")
    assert not [name for _, attributes in reader.elements for name in attributes if name.startswith("on")]
    for prompt in HOSTILE[1:]:
        assert prompt in reader.text  # among the failures, as text


def test_the_data_says_what_the_content_says(folder: Path) -> None:
    found = data((folder / "index.html").read_text())
    assert {picture["prompt"] for picture in found["pictures"]} == set(PROMPTS)
    assert len(found["pictures"]) == 45 * 12
    assert found["fronts"]["clip_score"]["fid"]
    assert found["pictures"][0]["record"]["seed"] == "0"


@settings(max_examples=20, deadline=None)
@given(st.text())
def test_any_text_is_text_and_data_and_nothing_else(text: str) -> None:
    content = plain_run()
    picture = replace(content.pictures[0], prompt=text, record={text: text})
    shown = page(replace(content, title=text, facts=((text, text),), notes=(text,), pictures=(picture,)), {})
    [found] = data(shown)["pictures"]
    assert (found["prompt"], found["record"]) == (text, {text: text})
    usual = page(replace(content, title="x", facts=(("x", "x"),), notes=("x",), pictures=(picture,)), {})
    assert Reader(shown).elements == Reader(usual).elements
    assert not set("<>&\u2028\u2029") & set(shown[shown.index('id="data">') + 10 : shown.rindex("</script>")])


def test_the_table_marks_best_dominated_and_warned(reader: Reader) -> None:
    best = [attributes for attributes in reader.all("td") if attributes.get("class") == "number best"]
    assert len(best) == len(METRICS)
    dominated = [row for row in reader.all("tr") if row.get("class") == "dominated"]
    assert 0 < len(dominated) < 45
    assert len([mark for mark in reader.all("span") if mark.get("class") == "warning"]) == 3
    assert "fewer than 2048 images (3 of 45 cells)" in reader.text


@pytest.mark.slow
def test_tiles_name_no_best_where_no_cell_is_told_apart() -> None:
    content, (first, *_) = sweep(), METRICS
    level = Figure(11.0, 10.0, 12.0, 9)
    cells = tuple(replace(cell, figures={first.name: level}, num_failed=0) for cell in content.cells[:6])
    shown = replace(content, cells=cells, metrics=METRICS[:1], pictures=(), picks=Picks(), scores={}, failures=())
    found = Reader(page(replace(shown, breakdown={}), {}))
    assert "No best" in found.text
    assert "6 cells are equal" in found.text
    labels = [span.get("aria-label") for span in found.all("span") if span.get("class") == "mark"]
    assert labels == ["equal in all cells"] * 6
    near = tuple(
        replace(cell, figures={first.name: replace(level, value=11 + place / 10)}) for place, cell in enumerate(cells)
    )
    found = Reader(page(replace(shown, cells=near, breakdown={}), {}))
    assert "No best" in found.text
    assert "5 other cells are not told apart from it" in found.text


def test_a_plain_run_leaves_out_what_does_not_apply() -> None:
    assert sections(plain_run()) == ["sheet", "run"]


@pytest.mark.slow
def test_one_axis_has_no_heat_map() -> None:
    content = sweep()
    axis = content.axes[0]
    cells = tuple(
        c for c in content.cells if (c.settings["scheduler"], c.settings["num_inference_steps"]) == ("ddim", 10)
    )
    kept = {cell.cell_id for cell in cells}
    pictures = tuple(picture for picture in content.pictures if picture.cell_id in kept)
    one = ReportContent("One axis", (), "x", (axis,), cells, METRICS, pictures=pictures)
    shown = sections(one)
    assert "heatmap" not in shown
    assert {"tradeoff", "along", "sheet"} <= set(shown)


def test_a_figure_that_could_not_be_computed_is_shown_as_missing() -> None:
    content = plain_run()
    figures = {"fid": Figure(float("nan"), None, None, 1, 9, ("one image has no covariance",))}
    cell = replace(content.cells[0], figures=figures)
    shown = page(replace(content, cells=(cell,), metrics=METRICS[:1]), {})
    assert "NaN" not in shown
    assert "FID: one image has no covariance" in shown


def test_costs_of_speed_and_differences_are_shown_in_words() -> None:
    content = plain_run()
    best = replace(content.cells[0], figures={"fid": Figure(11.0, 10.0, 12.0, 9)})
    gaps = {"fid": Gap("c0ffee0123456789", 0.5, 0.25, 0.75, 9)}
    other = replace(best, cell_id="b", figures={"fid": Figure(11.5, 10.0, 12.5, 9)}, gaps=gaps)
    costs = (Cost("b", {"cache_interval": 3}, best.cell_id, 1.834, gaps), Cost("c", {"eta": 1.0}, None, None, {}))
    found = Reader(page(replace(content, cells=(best, other), metrics=METRICS[:1], costs=costs), {}))
    for text in (
        "Δ +0.5000 (0.2500 to 0.7500)",
        "cache_interval=3",
        "1.83x",
        "–: not known, where the run",
    ):
        assert text in found.text
    titles = [span["title"] for span in found.all("span") if span.get("class") == "interval gap"]
    assert titles == ["difference from the best cell, over 9 pairs of images"]


def test_writing_again_removes_the_thumbnails_of_before(tmp_path: Path) -> None:
    write_report(plain_run(), tmp_path)
    write_report(replace(plain_run(), pictures=plain_run().pictures[:1]), tmp_path)
    assert len(list((tmp_path / "thumbnails").iterdir())) == 1


def test_content_that_does_not_fit_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DarkroomError):
        write_report(replace(plain_run(), score_metric="none"), tmp_path / "report")
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("num_ranking", "shown"), [(2, ["tradeoff", "heatmap", "along"]), (1, ["heatmap", "along"]), (0, [])]
)
def test_plots_are_of_metrics_that_rank_cells(num_ranking: int, shown: list[str]) -> None:
    """Without one there is nothing to choose, and the page's scripts would end."""
    content = sweep()
    ranking = [metric.name for metric in METRICS[:num_ranking]]
    cells = [
        replace(
            cell, figures={name: replace(figure, is_ranked=name in ranking) for name, figure in cell.figures.items()}
        )
        for cell in content.cells
    ]
    found = sections(replace(content, cells=tuple(cells)))
    assert [name for name in ("tradeoff", "heatmap", "along") if name in found] == shown


def test_a_printed_table_says_how_many_cells_it_leaves_out() -> None:
    """Choosers are not printed; the number of cells that they leave is."""
    text = page(sweep(), {})
    choosers = text.split('id="cells-choosers"', 1)[1].split("</div>", 1)[0]
    assert "cells-count" not in choosers
    assert 'id="cells-count"' in text
