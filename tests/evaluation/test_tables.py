import math

import pytest
from markdown_it import MarkdownIt
from markupsafe import Markup

from darkroom.evaluation.tables import (
    Table,
    arrow,
    decimals,
    html_table,
    interval,
    markdown_table,
    number,
    text_table,
    text_tables,
)

TABLE = Table(["cell", "for speed", "FID", "KID"], [["a", "yes", "9.5", "0.1"], ["bb", "", "12.25", "-"]], num_left=2)


def test_text_is_to_the_left_and_numbers_to_the_right() -> None:
    assert text_table(TABLE).splitlines() == [
        "cell  for speed    FID  KID",
        "a     yes          9.5  0.1",
        "bb               12.25    -",
    ]


def test_a_wide_table_is_cut_between_columns_and_its_text_comes_again() -> None:
    assert [text.splitlines()[2] for text in text_tables(TABLE, 24)] == [
        "bb               12.25",
        "bb                 -",
    ]
    assert text_tables(TABLE, 27) == [text_table(TABLE)]
    assert len(text_tables(TABLE, 1)) == 2  # a column is never cut


def test_a_table_without_numbers_fits_anywhere() -> None:
    assert text_tables(Table(["cell"], [["a"]]), 80) == []


def test_markdown_reads_as_the_same_table() -> None:
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse("\n".join(markdown_table(TABLE)))
    assert [token.content for token in tokens if token.type == "inline"] == [
        *TABLE.headings,
        *(entry for row in TABLE.rows for entry in row),
    ]
    aligned = [token.attrs.get("style") for token in tokens if token.type == "th_open"]
    assert aligned == [None, None, "text-align:right", "text-align:right"]


def test_html_escapes_all_but_what_is_html_already() -> None:
    found = html_table(Table(["<b>"], [["a & b"], [Markup("<i>c</i>")]]))
    assert found == (
        '<table><thead><tr><th scope="col">&lt;b&gt;</th></tr></thead><tbody>'
        '<tr><td dir="auto">a &amp; b</td></tr><tr><td dir="auto"><i>c</i></td></tr></tbody></table>'
    )
    assert html_table(TABLE).count('class="number"') == 4


@pytest.mark.parametrize(
    ("values", "expected"), [([12.3456, 3.5], 2), ([0.25], 4), ([1234.5], 0), ([0.0], 0), ([math.nan], 0), ([1e-12], 8)]
)
def test_the_largest_of_a_column_has_four_digits(values: list[float], expected: int) -> None:
    assert decimals(values) == expected


def test_numbers_intervals_and_arrows() -> None:
    assert (number(1.25, 1), number(math.nan, 1), number(None, 1, "–")) == ("1.2", "-", "–")
    assert (interval(1, 2.5, 1), interval(None, 2, 1)) == ("[1.0, 2.5]", "")
    assert (arrow(True), arrow(False)) == ("↑", "↓")
