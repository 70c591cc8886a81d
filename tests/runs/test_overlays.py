"""Texts on images: what a row says, where its letters lie, and what cannot be drawn is named."""

from pathlib import Path

import numpy as np
import pytest
from PIL import ImageFont

from darkroom.domain.errors import DarkroomError
from darkroom.runs.overlays import (
    Overlay,
    OverlayFault,
    OverlaySettings,
    check_fits,
    drawn,
    font_sha256,
    overlay_of,
    read_box,
)

GREY = np.full((96, 160, 3), 90, np.uint8)


def settings(fonts: dict[str, str] | None = None, **given: str) -> OverlaySettings:
    usual = {"text": "text", "font": "font", "box": "box", "colour": "colour", "default_font": None,
             "default_box": "0,0.5,1,1", "default_colour": "white"}  # fmt: skip
    return OverlaySettings(**{**usual, **given}, fonts=fonts or {})


@pytest.fixture
def font(tmp_path: Path) -> str:
    """Pillow's own as a file."""
    own = ImageFont.load_default(10)
    assert isinstance(own, ImageFont.FreeTypeFont)
    (tmp_path / "own.ttf").write_bytes(own.path.getvalue())  # type: ignore[union-attr]
    return str(tmp_path / "own.ttf")


def where(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what was drawn on grey."""
    rows, columns = np.nonzero((pixels != GREY).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


def test_a_text_lies_in_its_box_in_its_colour_and_nothing_else_changes() -> None:
    row = {"text": "Grand opening today", "box": "0.1,0.5,0.9,1", "colour": "#ff0000"}
    overlay = overlay_of(row, settings())
    assert overlay is not None
    made = drawn(GREY, overlay)
    left, top, right, bottom = where(made)
    assert (left >= 16, right <= 144, top >= 48, bottom <= 96) == (True,) * 4
    assert bottom - top > 24, "as large as it fits"
    assert made[..., 0].max() == 255
    assert made[..., 1:].max() == 90
    assert (GREY == 90).all(), "what was given stays"
    assert (drawn(GREY, Overlay.of_text(overlay.to_text())) == made).all(), "a function of what the record keeps"


def test_opacity_and_pixels_and_lines() -> None:
    half = drawn(GREY, overlay_of({"text": "I", "colour": "#ffffff80"}, settings()))  # type: ignore[arg-type]
    assert half.max() == 90 + round((255 - 90) * 128 / 255)
    assert read_box([10, 20, 30, 40.5]) == (10, 20, 30, 40.5)
    one, two = (
        where(drawn(GREY, overlay_of({"text": text, "box": "10,10,150,90"}, settings())))  # type: ignore[arg-type]
        for text in ("over", "over\nover")
    )
    assert two[2] - two[0] < one[2] - one[0], "two lines have half the height each"
    assert (one[0] >= 10, one[2] <= 150, one[1] >= 10, one[3] <= 90) == (True,) * 4


@pytest.mark.parametrize("text", [None, "", "  ", "\n", float("nan"), "\u200b\ufeff "])
def test_a_row_without_a_text_has_none(text: str | None) -> None:
    assert overlay_of({"text": text, "colour": "no colour at all"}, settings()) is None


def test_a_font_of_a_row_and_a_default(font: str) -> None:
    known = {font: font_sha256(font)}
    assert overlay_of({"text": "a", "font": font}, settings(known)).font == font  # type: ignore[union-attr]
    assert overlay_of({"text": "a"}, settings(known, default_font=font)).font == font  # type: ignore[union-attr]
    own = overlay_of({"text": "a"}, settings())
    assert own is not None
    assert (own.font, own.font_sha256) == (None, known[font])


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"text": "日本"}, r"no glyph for '日' \(U\+65E5\)"),
        ({"text": "مرحبا"}, "no glyph for|needs libraqm"),
        ({"text": "q\u0301"}, r"no glyph for '\u0301' \(U\+0301\)|needs libraqm"),
        ({"text": ["a", "b"]}, r"text \['a', 'b'\]: is none; name a column of texts or numbers"),
        ({"text": b"a"}, "text b'a': is none"),
        ({"text": "a\0b"}, r"no glyph for '\\x00'"),
        ({"text": "a", "box": "0,0,inf,inf"}, "lie not beyond"),
        ({"text": "a", "colour": "rgb(300,0,0)"}, r"colour 'rgb\(300,0,0\)': give a name of CSS"),
        ({"text": "a", "colour": "rgba(0,0,0,400)"}, "give a name of CSS"),
        ({"text": "a", "box": "1,2,3"}, "give left, top, right and bottom"),
        ({"text": "a", "box": "0.5,0,0.2,1"}, "lie not beyond"),
        ({"text": "a", "box": "-1,0,1,1"}, "lie not beyond"),
        ({"text": "a", "box": "nan,0,1,1"}, "lie not beyond"),
        ({"text": "a", "box": 7}, "give left, top, right and bottom"),
        ({"text": "a", "colour": "blurple"}, "colour 'blurple': give a name of CSS"),
        ({"text": "a", "font": "such.ttf"}, "give its whole path"),
        ({"text": "a", "font": "/no/such.ttf"}, "was no file when the run began"),
    ],
)
def test_what_cannot_be_drawn_is_named(row: dict[str, object], said: str) -> None:
    with pytest.raises(OverlayFault, match=said):
        overlay_of(row, settings())


def test_what_shows_nothing_is_set_as_nothing() -> None:
    """No empty rectangle for spaces and format characters that the font does not have."""
    texts = "Grand opening", "\ufeffGrand\u00a0opening", "Grand\topen\u00ading\u200b"
    one, *others = (overlay_of({"text": text}, settings()) for text in texts)
    assert one is not None
    assert others == [one, one]


def test_what_does_not_fit_is_named() -> None:
    for row, said in (({"text": "a" * 200}, "does not fit"), ({"text": "a", "box": "0,0,500,500"}, "is larger than")):
        overlay = overlay_of(row, settings())
        assert overlay is not None
        with pytest.raises(OverlayFault, match=said):
            check_fits(overlay, 96, 160)


def test_a_font_that_is_another_one_by_now_is_refused(font: str, tmp_path: Path) -> None:
    overlay = overlay_of({"text": "a", "font": font}, settings({font: font_sha256(font)}))
    assert overlay is not None
    data = Path(font).read_bytes()
    Path(font).write_bytes(data + b"\0")
    with pytest.raises(DarkroomError, match="not those that the run began with"):
        drawn(GREY, overlay)
    Path(font).write_text("hello")
    with pytest.raises(DarkroomError, match="not readable as TrueType"):
        font_sha256(font)
    with pytest.raises(DarkroomError, match="cannot be read"):
        font_sha256(str(tmp_path / "none.ttf"))
