"""Text that is drawn on rendered images, since models misspell: read from columns of the prompts, fitted into a box.

A text is wrapped at spaces, and between the characters of scripts that have none, and gets the largest size at which
it fits; it is centred in its box, and nothing of it lies outside. What a font has no glyph for is a fault, and no empty
rectangle in an image. Scripts that need shaping (from right to left, of India and others with combining marks) are set
by libraqm where Pillow has it, and are a fault where it has not; all others by Pillow alone, so that equal versions
draw equal pixels.
"""

import hashlib
import io
import json
import math
import os
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image, ImageColor, ImageDraw, ImageFont, features

from darkroom.domain.errors import DarkroomError, EndsRun
from darkroom.domain.records import PromptRow

PROMPT = "prompt"  # the one column that is read as something else, and may be drawn too
_SMALLEST = 6  # pixels of a font's size: a smaller one cannot be read
_LARGEST = 1024
_WORD = re.compile(r"\s*\S+")
_SHOWN = 40  # characters of a value
_BOX_HELP = (
    "give left, top, right and bottom as shares of the image, such as 0.1,0.7,0.9,0.95, or, where one is above 1, in "
    "pixels"
)


class OverlayFault(DarkroomError):
    """Why a row's text cannot be drawn."""


class WrongFont(DarkroomError, EndsRun):
    """A font's file cannot be read, is none, or is not the one that a run began with: no image gets a text by it."""


@dataclass(frozen=True)
class OverlaySettings:
    """Which columns say what is drawn, and what holds where one of them says nothing."""

    text: str  # columns
    font: str | None
    box: str | None
    colour: str | None
    default_font: str | None  # a file; None: Pillow's own
    default_box: str
    default_colour: str
    fonts: Mapping[str, str] = field(default_factory=dict)  # SHA-256 of each font file, by its path

    @property
    def columns(self) -> list[str]:
        return [name for name in (self.text, self.font, self.box, self.colour) if name]

    def to_text(self) -> str:
        """As a run keeps it: equal settings, equal text."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    @cache
    def of_text(cls, text: str) -> "OverlaySettings":
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Overlay:
    """What is drawn on one image."""

    text: str
    font: str | None  # a file; None: Pillow's own
    font_sha256: str
    box: tuple[float, float, float, float]  # left, top, right, bottom: shares where none is above 1, else pixels
    colour: str

    def to_text(self) -> str:
        """As a record keeps it."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def of_text(cls, text: str) -> "Overlay":
        found = json.loads(text)
        return cls(**{**found, "box": tuple(found["box"])})


# From a row ----------------------------------------------------------------------------------------------------------


def rows_read(
    settings: OverlaySettings, prompts: Sequence[PromptRow], extras: pa.Table
) -> Iterator[Mapping[str, object]]:
    """What each row says in the columns that are read; `extras`: its other columns."""
    names = [name for name in settings.columns if name != PROMPT]
    rows = extras.select(names).to_pylist() if names else [{}] * len(prompts)
    for row, prompt in zip(rows, prompts, strict=True):
        yield {**row, PROMPT: prompt.prompt}


def overlay_of(row: Mapping[str, object], settings: OverlaySettings) -> Overlay | None:
    """What a row says; None where it has no text. Raises OverlayFault for what cannot be drawn."""
    text = _given(row, settings.text, "")
    if isinstance(text, list | dict | bytes):
        raise OverlayFault(f"text {_shown(text)}: is none; name a column of texts or numbers")
    if all(each.isspace() or _is_unseen(each) for each in str(text)):
        return None
    path = _given(row, settings.font, settings.default_font)
    font = None if path is None else str(path)
    if font and not Path(font).expanduser().is_absolute():
        raise OverlayFault(f"font {font!r}: give its whole path, since workers have working folders of their own")
    sha256 = settings.fonts.get(font) if font else font_sha256(None)
    if sha256 is None:
        raise OverlayFault(f"font {font!r} was no file when the run began; name one that every worker's machine has")
    box = read_box(_given(row, settings.box, settings.default_box))
    colour = str(_given(row, settings.colour, settings.default_colour))
    check_colour(colour)
    overlay = Overlay(_as_set(str(text), font), font, sha256, box, colour)
    _check_glyphs(overlay)
    return overlay


def _given(row: Mapping[str, object], column: str | None, default: object) -> object:
    """What a row says; NaN, which tables of numbers have where there is nothing, is nothing."""
    value = row.get(column) if column else None
    return default if value is None or value == "" or value != value else value


def read_box(value: object) -> tuple[float, float, float, float]:
    """Of a text with commas, or of four numbers. Raises OverlayFault."""
    parts = value.split(",") if isinstance(value, str) else value
    try:
        left, top, right, bottom = (float(part) for part in parts)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise OverlayFault(f"box {_shown(value)}: {_BOX_HELP}") from None
    if not (0 <= left < right < math.inf and 0 <= top < bottom < math.inf):
        raise OverlayFault(f"box {_shown(value)}: its right and bottom lie not beyond its left and top; {_BOX_HELP}")
    return left, top, right, bottom


def check_colour(colour: str) -> None:
    """Raises OverlayFault for what is no colour."""
    try:
        bytes(ImageColor.getrgb(colour))  # of which each is 0 to 255
    except ValueError:
        raise OverlayFault(
            f"colour {_shown(colour)}: give a name of CSS such as white, or #rrggbb, or #rrggbbaa with how opaque it is"
        ) from None


def font_sha256(path: str | None) -> str:
    """Of a font's file; None: of Pillow's own. Raises WrongFont for what is none."""
    return _digest(path, _changed(path))


@cache
def _digest(path: str | None, changed: int) -> str:
    data = _data(path, changed)
    try:
        ImageFont.truetype(io.BytesIO(data), _SMALLEST)
    except OSError as error:
        raise WrongFont(f"font {path}: not readable as TrueType or OpenType ({error}); name another file") from None
    return hashlib.sha256(data).hexdigest()


@cache
def _data(path: str | None, changed: int) -> bytes:
    """`changed`: when; a file that is another by then is read again."""
    if path is None:
        own = ImageFont.load_default(_SMALLEST)
        assert isinstance(own, ImageFont.FreeTypeFont)
        return bytes(own.path.getvalue())  # type: ignore[union-attr]
    return Path(path).expanduser().read_bytes()


def _changed(path: str | None) -> int:
    """When a font's file was written. Raises WrongFont for one that cannot be read."""
    if path is None:
        return 0
    try:
        with Path(path).expanduser().open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError as error:
        raise WrongFont(
            f"font {path}: cannot be read ({error.strerror}); every worker's machine reads it from there"
        ) from error


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


# Glyphs --------------------------------------------------------------------------------------------------------------


def _as_set(text: str, font: str | None) -> str:
    """The text in its shortest form (NFC), without what shows nothing and would be set as an empty rectangle: spaces
    that the font lacks become plain ones, and where no script needs shaping, format characters are left out."""
    text, shapes = unicodedata.normalize("NFC", text.strip()), _needs_shaping(text)

    def set_as(character: str) -> str:
        if character.isspace():
            return character if _has_glyph(font, character) else " "
        return "" if _is_unseen(character) and not shapes else character

    return "\n".join("".join(map(set_as, line)) for line in text.splitlines())


def _is_unseen(character: str) -> bool:
    """Whether it is never drawn itself: joiners, marks of direction, soft hyphens, selectors of variants."""
    if unicodedata.category(character) == "Cf":
        return unicodedata.bidirectional(character) != "AN"  # signs around Arabic numbers are drawn
    return character == "\u034f" or "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _check_glyphs(overlay: Overlay) -> None:
    if _needs_shaping(overlay.text) and not (features.check("raqm") and features.check("fribidi")):
        raise OverlayFault(
            f"text {_shown(overlay.text)}: its script needs libraqm and FriBiDi, and Pillow here has them not; install "
            "libfribidi0"
        )
    letters = {each for each in overlay.text if not each.isspace() and not _is_unseen(each)}
    missing = sorted(each for each in letters if not _has_glyph(overlay.font, each))
    if missing:
        named = ", ".join(f"{each!r} (U+{ord(each):04X})" for each in missing[:5])
        raise OverlayFault(f"font {overlay.font or 'of Pillow'} has no glyph for {named}; name a font that has")


@lru_cache(100_000)
def _has_glyph(path: str | None, character: str) -> bool:
    """Whether it looks otherwise than what the font shows for a character that no font has; marks that are drawn on
    others may have no width of their own."""
    font = _font(path, 24, False)
    mask = font.getmask(character)
    is_there = bytes(mask) != bytes(font.getmask("\U0010ffff"))
    return is_there and (bool(mask.size[0]) or unicodedata.category(character) in ("Mn", "Me"))


def _needs_shaping(text: str) -> bool:
    return any(
        unicodedata.bidirectional(each) in ("R", "AL", "AN") or unicodedata.category(each) in ("Mn", "Mc")
        for each in text
    )


def _font(path: str | None, size: int, shapes: bool) -> ImageFont.FreeTypeFont:
    """A face of its own: those of FreeType are of one thread."""
    engine = ImageFont.Layout.RAQM if shapes else ImageFont.Layout.BASIC
    return ImageFont.truetype(io.BytesIO(_data(path, _changed(path))), size, layout_engine=engine)


# Fitting -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Fitted:
    size: int
    lines: tuple[str, ...]
    area: tuple[int, int, int, int]  # pixels


def check_fits(overlay: Overlay, height: int, width: int) -> None:
    """Raises OverlayFault for a text that cannot be drawn on an image of this size."""
    _fitted(overlay, height, width)


def drawn(pixels: np.ndarray, overlay: Overlay) -> np.ndarray:
    """(height, width, 3) uint8 RGB with the text on it: a function of the arguments and of Pillow's version.

    Raises OverlayFault where it does not fit, and WrongFont where the font is not what the run began with.
    """
    if font_sha256(overlay.font) != overlay.font_sha256:
        raise WrongFont(
            f"font {overlay.font or 'of Pillow'}: its bytes are not those that the run began with; put that file back"
        )
    fitted = _fitted(overlay, *pixels.shape[:2])
    font = _font(overlay.font, fitted.size, _needs_shaping(overlay.text))
    left, top, right, bottom = fitted.area
    covered = Image.new("L", (right - left, bottom - top))  # how much of each pixel the letters cover
    draw, line_height = ImageDraw.Draw(covered), sum(font.getmetrics())
    above = (covered.height - line_height * len(fitted.lines)) / 2
    for number, line in enumerate(fitted.lines):
        draw.text((covered.width / 2, above + number * line_height), line, 255, font, anchor="ma")
    *colour, opacity = (*ImageColor.getrgb(overlay.colour), 255)[:4]
    image = Image.fromarray(pixels)
    image.paste(tuple(colour), fitted.area, covered.point([value * opacity // 255 for value in range(256)]))
    return np.asarray(image)


@lru_cache(4096)
def _fitted(overlay: Overlay, height: int, width: int) -> _Fitted:
    """The text's lines at the largest size at which they fit into the box."""
    area = _pixels(overlay.box, height, width)
    box_width, box_height = area[2] - area[0], area[3] - area[1]
    shapes = _needs_shaping(overlay.text)
    least, most, found = _SMALLEST, min(_LARGEST, box_height), None
    while least <= most:
        size = (least + most) // 2
        lines = _wrapped(overlay.text, _font(overlay.font, size, shapes), box_width, box_height)
        if lines is None:
            most = size - 1
        else:
            found, least = _Fitted(size, lines, area), size + 1
    if found is None:
        raise OverlayFault(
            f"text {_shown(overlay.text)} does not fit into {box_width}x{box_height} pixels at {_SMALLEST} pixels a "
            "line; give a larger box or a shorter text"
        )
    return found


def _pixels(box: tuple[float, float, float, float], height: int, width: int) -> tuple[int, int, int, int]:
    if max(box) <= 1:
        box = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    left, top, right, bottom = (round(each) for each in box)
    if right > width or bottom > height:
        raise OverlayFault(f"box {left},{top},{right},{bottom} is larger than the image, of {width}x{height} pixels")
    return left, top, right, bottom


def _wrapped(text: str, font: ImageFont.FreeTypeFont, width: int, height: int) -> tuple[str, ...] | None:
    """Lines that fit; None where they do not."""
    most = height // sum(font.getmetrics())
    lines: list[str] = []
    for paragraph in text.splitlines():
        line = ""
        for token in _tokens(paragraph):
            longer = line + token
            if font.getlength(longer.strip()) <= width:
                line = longer
                continue
            if not line.strip() or font.getlength(token.strip()) > width:
                return None
            lines.append(line.strip())
            line = token
            if len(lines) >= most:
                return None
        lines.append(line.strip())
    return tuple(lines) if len(lines) <= most else None


def _tokens(paragraph: str) -> Sequence[str]:
    """What no line's end lies in: words with the space before them, and single characters of scripts without spaces."""
    found: list[str] = []
    for word in _WORD.findall(paragraph):
        part = ""
        for character in word:
            is_wide = unicodedata.east_asian_width(character) in ("W", "F")
            if is_wide and part.strip():
                found.append(part)
                part = ""
            part += character
            if is_wide:
                found.append(part)
                part = ""
        if part:
            found.append(part)
    return found
