"""All cells as one labelled picture: an axis across, combinations of the others down, and so for each prompt."""

import io
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from darkroom.evaluation.tables import setting_text
from darkroom.reporting.content import Axis, Setting

GRID = "grid.png"
_GAP, _MARGIN = 6, 16  # pixels
_FONT, _SMALL = 18, 14  # pixels of letters
_LINE = 1.35  # height of a line, in letters
_PROMPT_LINES = 3
_WIDEST_LABEL = 320  # pixels, of a row
_SIDES = (512, 384, 256, 192, 128, 96, 64, 48, 32)  # of an image, the largest first
_MOST_PIXELS = 24_000_000  # of the picture, where it chooses the images' side by itself
_UNKNOWN, _NO_LETTER = "?", "\U0010fffe"  # what is drawn for a letter that the font lacks, and one that all lack
_MOST_LACKING = 24  # letters that are named
_PAPER, _INK, _QUIET, _EMPTY = (255, 255, 255), (28, 33, 40), (93, 103, 118), (238, 240, 243)

Pixels = np.ndarray  # (height, width, 3) uint8 RGB
Point = tuple[Setting, ...]  # a cell's values on the axes, in their order


@dataclass(frozen=True)
class GridBlock:
    """One prompt in every cell."""

    prompt: str
    images: Mapping[Point, Pixels]


@dataclass(frozen=True)
class _Shape:
    """Where everything is, in pixels."""

    columns: Sequence[Setting]
    rows: Sequence[Point]  # of the other axes
    side: int  # of an image
    left: int  # where images begin
    head: int  # height of what stands above a block's images

    @property
    def width(self) -> int:
        return self.left + len(self.columns) * (self.side + _GAP) + _MARGIN

    @property
    def block(self) -> int:
        """A block's height."""
        return self.head + len(self.rows) * (self.side + _GAP)


def grid_image(title: str, axes: Sequence[Axis], points: Iterable[Point], blocks: Sequence[GridBlock]) -> bytes:
    """PNG. The first axis lies across, the others down; `points` are those that have a cell. Equal input, equal bytes.

    Labels are in Pillow's own font, which has few letters beside ASCII's: the last line says which of others `?` stands
    for. An image keeps its shape, and is not enlarged.
    """
    shape = _shape(axes, set(points), blocks)
    top = _MARGIN + _height(_FONT)
    foot, lines = top + len(blocks) * (shape.block + _MARGIN), _not_drawn(_texts(title, axes, blocks), shape)
    picture = Image.new("RGB", (shape.width, foot + len(lines) * _height(_SMALL)), _PAPER)
    draw = ImageDraw.Draw(picture)
    for place, line in enumerate(lines):
        draw.text((_MARGIN, foot - _GAP + place * _height(_SMALL)), line, _QUIET, _font(_SMALL))
    draw.text((_MARGIN, _MARGIN), _fitted(title, shape.width - 2 * _MARGIN, _FONT), _INK, _font(_FONT))
    for place, block in enumerate(blocks):
        _draw_block(picture, draw, shape, axes, block, top + place * (shape.block + _MARGIN))
    about = PngInfo()
    about.add_itxt("Title", title)
    about.add_itxt("Description", "\n".join(block.prompt for block in blocks))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=about, compress_level=6)
    return buffer.getvalue()


def side_of(num_images: int) -> int:
    """Pixels of the square that each of so many images gets, at most."""
    return next((side for side in _SIDES if side * side * num_images <= _MOST_PIXELS), _SIDES[-1])


def _shape(axes: Sequence[Axis], points: set[Point], blocks: Sequence[GridBlock]) -> _Shape:
    columns, *others = axes
    rows = sorted(
        {point[1:] for point in points},
        key=lambda row: [axis.values.index(value) for axis, value in zip(others, row, strict=True)],
    )
    labels = [_row_label(others, row) for row in rows]
    left = _MARGIN + max((_width(line, _SMALL) for label in labels for line in label), default=0) + _MARGIN
    head = _height(_SMALL) * _PROMPT_LINES + _height(_SMALL) * 2 + _GAP
    largest = max((max(pixels.shape[:2]) for block in blocks for pixels in block.images.values()), default=_SIDES[0])
    num_tiles = len(columns.values) * len(rows) * len(blocks)
    least = _height(_SMALL) * max((len(label) for label in labels), default=1)
    side = max(min(side_of(num_tiles), largest), least)
    return _Shape(columns.values, rows, side, left, head)


def _draw_block(
    picture: Image.Image, draw: ImageDraw.ImageDraw, shape: _Shape, axes: Sequence[Axis], block: GridBlock, top: int
) -> None:
    columns, *others = axes
    for place, line in enumerate(_wrapped(block.prompt, shape.width - 2 * _MARGIN)):
        draw.text((_MARGIN, top + place * _height(_SMALL)), line, _QUIET, _font(_SMALL))
    y = top + _PROMPT_LINES * _height(_SMALL)
    draw.text((shape.left, y), columns.name, _QUIET, _font(_SMALL))
    for place, value in enumerate(shape.columns):
        label = _fitted(setting_text(value), shape.side, _SMALL)
        x = shape.left + place * (shape.side + _GAP) + (shape.side - _width(label, _SMALL)) // 2
        draw.text((x, y + _height(_SMALL)), label, _INK, _font(_SMALL))
    for down, row in enumerate(shape.rows):
        y = top + shape.head + down * (shape.side + _GAP)
        _draw_label(draw, _row_label(others, row), y, shape.side)
        for across, value in enumerate(shape.columns):
            tile = _tile(block.images.get((value, *row)), shape.side)
            picture.paste(tile, (shape.left + across * (shape.side + _GAP), y))


def _draw_label(draw: ImageDraw.ImageDraw, lines: Sequence[str], top: int, side: int) -> None:
    """In the middle of a row's height."""
    y = top + (side - len(lines) * _height(_SMALL)) // 2
    for place, line in enumerate(lines):
        draw.text((_MARGIN, y + place * _height(_SMALL)), line, _INK, _font(_SMALL))


def _row_label(axes: Sequence[Axis], row: Point) -> list[str]:
    texts = (f"{axis.name} {setting_text(value)}" for axis, value in zip(axes, row, strict=True))
    return [_fitted(text, _WIDEST_LABEL, _SMALL) for text in texts]


def _tile(pixels: Pixels | None, side: int) -> Image.Image:
    """In the middle of a square; without an image an empty one."""
    square = Image.new("RGB", (side, side), _EMPTY if pixels is None else _PAPER)
    if pixels is not None:
        image = Image.fromarray(pixels)
        image.thumbnail((side, side), Image.Resampling.LANCZOS)
        square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


# Text ---------------------------------------------------------------------------------------------------------------


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _height(size: int) -> int:
    return round(size * _LINE)


def _width(text: str, size: int) -> int:
    return round(_font(size).getlength(text))


def _fitted(text: str, width: int, size: int) -> str:
    """Cut where it is wider."""
    text = _drawn(text)
    if _width(text, size) <= width:
        return text
    while text and _width(f"{text}…", size) > width:
        text = text[:-1]
    return f"{text}…"


def _wrapped(text: str, width: int) -> Iterator[str]:
    """A few lines; letters are taken as wide as an n."""
    letters = max(8, width // max(1, _width("n", _SMALL)))
    return iter(textwrap.wrap(_drawn(text), letters, max_lines=_PROMPT_LINES, placeholder=" …"))


# Letters that the font lacks ------------------------------------------------------------------------------------------


def _drawn(text: str) -> str:
    """In one line, with `?` for each letter that would be an empty box."""
    return "".join(_UNKNOWN if _is_lacking(letter) else letter for letter in " ".join(text.split()))


@cache
def _is_lacking(letter: str) -> bool:
    font = _font(_SMALL)
    if not isinstance(font, ImageFont.FreeTypeFont):  # a Pillow without FreeType has a font of Latin-1
        return ord(letter) > 0xFF
    return not letter.isspace() and bytes(font.getmask(letter)) == bytes(font.getmask(_NO_LETTER))


def _texts(title: str, axes: Sequence[Axis], blocks: Sequence[GridBlock]) -> Iterator[str]:
    """All that is written."""
    yield title
    yield from (block.prompt for block in blocks)
    for axis in axes:
        yield axis.name
        yield from map(setting_text, axis.values)


def _not_drawn(texts: Iterable[str], shape: _Shape) -> list[str]:
    """Lines that say what `?` stands for; none where it stands for nothing."""
    lacking = sorted({letter for text in texts for letter in " ".join(text.split()) if _is_lacking(letter)})
    if not lacking:
        return []
    named = ", ".join(f"U+{ord(letter):04X}" for letter in lacking[:_MOST_LACKING])
    more = f" and {len(lacking) - _MOST_LACKING} more" if len(lacking) > _MOST_LACKING else ""
    said = f"{_UNKNOWN} stands for letters that this font lacks: {named}{more}. The page and report.md have them."
    letters = max(8, (shape.width - 2 * _MARGIN) // max(1, _width("n", _SMALL)))
    return textwrap.wrap(said, letters)
