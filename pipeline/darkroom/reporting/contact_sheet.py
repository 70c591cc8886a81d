"""A contact sheet: some of a run's images on one picture, each above its prompt. Knows no store."""

import io
import textwrap
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from darkroom.domain.records import Record

_COLUMNS = 8
_TILE = 144  # pixels, the longer side of an image
_GAP = 12
_CAPTION = 52  # pixels below an image, for four lines
_FONT_SIZE = 11
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


def contact_sheet(images: Sequence[tuple[Record, np.ndarray]]) -> bytes:
    """PNG of records and their images' pixels, row by row."""
    columns = min(_COLUMNS, max(1, len(images)))
    rows = -(-len(images) // columns)
    size = (columns * (_TILE + _GAP) + _GAP, rows * (_TILE + _CAPTION + _GAP) + _GAP)
    sheet = Image.new("RGB", size, _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for index, (record, pixels) in enumerate(images):
        x = _GAP + index % columns * (_TILE + _GAP)
        y = _GAP + index // columns * (_TILE + _CAPTION + _GAP)
        sheet.paste(_tile(pixels), (x, y))
        draw.multiline_text((x, y + _TILE + 4), _caption(record.prompt), _INK, font, spacing=1)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _tile(pixels: np.ndarray) -> Image.Image:
    """Fitted into a square; enlarged images keep their pixels' edges smooth."""
    image = Image.fromarray(pixels)
    scale = _TILE / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    fitted = image.resize(size, Image.Resampling.LANCZOS)
    square = Image.new("RGB", (_TILE, _TILE), _PAPER)
    square.paste(fitted, ((_TILE - fitted.width) // 2, (_TILE - fitted.height) // 2))
    return square


def _caption(prompt: str) -> str:
    """Four short lines; what the font cannot draw is left to it."""
    return "\n".join(textwrap.wrap(" ".join(prompt.split()), 24, max_lines=4, placeholder=" …"))
