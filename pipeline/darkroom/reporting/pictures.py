"""Images for people to see: those chosen for the page, with their records and thumbnails; and a contact sheet."""

import io
import textwrap
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard
from darkroom.domain.records import Record
from darkroom.reporting.commands import Given, verify_command
from darkroom.reporting.content import FailedImage, Picture
from darkroom.reporting.sampling import ImageRef
from darkroom.runs import manifest
from darkroom.runs.images import StoredFile, by_key, stored_files
from darkroom.runs.manifest import to_records
from darkroom.storage.store import Store, prefetched

_LONGEST = 2000  # characters of one text of a record
SIDE = 256  # pixels of a thumbnail, at most
_QUALITY = 82  # of WebP
_NUM_READERS = 4  # threads, each with one object in memory: a container holds a shard's images

# Of a contact sheet, in pixels.
_COLUMNS = 8
_TILE = 144  # the longer side of an image
_GAP = 12
_CAPTION = 52  # below an image, for four lines
_FONT_SIZE = 11
_PAPER, _INK = (255, 255, 255), (60, 60, 60)


@dataclass(frozen=True)
class Row:
    """One image's row of a manifest."""

    image: ImageRef
    record: Record
    texts: Mapping[str, str]  # every column that says something, the prompt file's too


def read_rows(store: Store, images: Iterable[ImageRef]) -> dict[str, Row]:
    """image_id -> row, each manifest read once."""
    by_shard: dict[Shard, dict[int, ImageRef]] = defaultdict(dict)
    for image in images:
        by_shard[image.shard][image.index] = image
    parts = prefetched(by_shard.items(), lambda item: _rows(store, *item))
    return {row.record.image_id: row for part in parts for row in part}


def _rows(store: Store, shard: Shard, images: Mapping[int, ImageRef]) -> list[Row]:
    table = manifest.read(store, shard).take(list(images))
    columns = table.to_pylist()
    return [
        Row(image, record, _texts(values))
        for image, record, values in zip(images.values(), to_records(table), columns, strict=True)
    ]


def pictures(
    store: Store,
    rows: Sequence[Row],
    small: Mapping[str, "Thumbnail"],
    in_sheet: Collection[str],
    words: Mapping[str, Given],
    run_href: str | None,
) -> Iterator[Picture]:
    """`small`: by image_id; `in_sheet`: image_ids; `words`: cell_id -> what verifying must say of its model;
    `run_href`: the run's folder as seen from the report, or None."""
    for row in rows:
        record, shown = row.record, small[row.record.image_id]
        yield Picture(
            image_id=record.image_id,
            cell_id=record.cell_id,
            prompt=cut(record.prompt),
            prompt_id=record.prompt_id,
            sample_index=row.image.sample_index,
            score=row.image.score,
            record=row.texts,
            verify_command=""
            if record.is_seeded is False
            else verify_command(store.spec, record.image_id, words[record.cell_id]),
            thumbnail=shown.webp,
            image_href=f"{run_href}/{record.key}" if run_href and record.member is None else None,
            in_sheet=record.image_id in in_sheet,
            fault=f"{store.describe(record.key or '')}: {shown.fault}" if shown.fault else "",
        )


def failed_image(row: Row) -> FailedImage:
    record = row.record
    return FailedImage(
        image_id=record.image_id,
        cell_id=record.cell_id,
        prompt=cut(record.prompt),
        prompt_id=record.prompt_id,
        sample_index=record.sample_index,
        status=record.status,
        reason=record.error or "",
        record=row.texts,
    )


def cut(text: str) -> str:
    """Text as long as a page can bear."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: cut(_text(value)) for name, value in values.items() if value not in (None, "")}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:.10g}" if isinstance(value, float) else str(value)


# Thumbnails ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Thumbnail:
    """A picture, or why there is none."""

    webp: bytes | None
    fault: str = ""
    pixels: np.ndarray | None = None  # (height, width, 3) uint8 RGB, where a larger picture is wanted too


def thumbnails(
    store: Store, records: Iterable[Record], larger: Collection[str] = (), side: int = 0
) -> dict[str, Thumbnail]:
    """By image_id. An image that is missing, or is not what was committed, has no picture.

    `larger`: image_ids of those whose pixels are wanted too, in a square of `side`.
    """
    found: dict[str, Thumbnail] = {}
    sides = dict.fromkeys(larger, side)
    for made in prefetched(by_key(records).values(), lambda group: _of_object(store, group, sides), _NUM_READERS):
        found |= made
    return found


def _of_object(store: Store, records: Sequence[Record], sides: Mapping[str, int]) -> dict[str, Thumbnail]:
    files = stored_files(store, records)
    return {file.record.image_id: _of_file(file, sides.get(file.record.image_id)) for file in files}


def _of_file(file: StoredFile, side: int | None) -> Thumbnail:
    try:
        pixels = file.pixels()
    except DarkroomError as error:
        return Thumbnail(None, str(error))
    return Thumbnail(thumbnail(pixels), pixels=np.asarray(_fitted(pixels, side)) if side else None)


def thumbnail(pixels: np.ndarray) -> bytes:
    """WebP of (height, width, 3) uint8 RGB, in a square of SIDE pixels and never enlarged."""
    buffer = io.BytesIO()
    _fitted(pixels, SIDE).save(buffer, "WEBP", quality=_QUALITY)
    return buffer.getvalue()


def _fitted(pixels: np.ndarray, side: int) -> Image.Image:
    """In a square of `side` pixels, never enlarged."""
    small = Image.fromarray(pixels)
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return small


# Contact sheet ------------------------------------------------------------------------------------------------------


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
    return _as_png(sheet)


def pairs_sheet(pairs: Sequence[tuple[np.ndarray, np.ndarray, str]]) -> bytes:
    """PNG of two images' pixels beside each other and a text below, row by row."""
    columns = min(_COLUMNS // 2, max(1, len(pairs)))
    rows = -(-len(pairs) // columns)
    width, height = 2 * _TILE + 2 * _GAP, _TILE + _CAPTION + _GAP
    sheet = Image.new("RGB", (columns * width + _GAP, max(1, rows) * height + _GAP), _PAPER)
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(_FONT_SIZE)
    for index, (left, right, text) in enumerate(pairs):
        x, y = _GAP + index % columns * width, _GAP + index // columns * height
        sheet.paste(_tile(left), (x, y))
        sheet.paste(_tile(right), (x + _TILE, y))
        draw.multiline_text((x, y + _TILE + 4), _caption(text, 48), _INK, font, spacing=1)
    return _as_png(sheet)


def _as_png(sheet: Image.Image) -> bytes:
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=3)  # a tenth of the time of `optimize`, for a tenth more bytes
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


def _caption(prompt: str, width: int = 24) -> str:
    """Four short lines; what the font cannot draw is left to it."""
    return "\n".join(textwrap.wrap(" ".join(prompt.split()), width, max_lines=4, placeholder=" …"))
