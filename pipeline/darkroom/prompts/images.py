"""Image files as prompts: what each says of how it was made is a row, so that the images are made again.

Files are read once, when the dataset is opened, and their rows wait in memory or on a disk.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
from PIL import ExifTags, Image

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.prompts.columns import ColumnMapping
from darkroom.prompts.image_settings import NAMES, Unreadable, made_of, texts_of_json
from darkroom.prompts.lines import mapped, rows_block
from darkroom.prompts.memory import Spool
from darkroom.prompts.sources import Fault, SourceBlock
from darkroom.storage.input_files import InputFile
from darkroom.storage.scanning import Kinds, Place, scan

ENDINGS = frozenset((".png", ".webp", ".jpg", ".jpeg", ".json"))
_NEEDED = f"one of {' '.join(sorted(ENDINGS))}"
_READERS, _READ_AHEAD = 16, 256  # threads, and files that they are given at once
_HEAD_BYTES = 256 << 10  # in which most tools' texts lie
_FAULT = ""  # the key of a row that is none: why
_UNICODE, _ASCII = b"UNICODE\0", b"ASCII\0\0\0"  # before a comment (Exif 3.0, 4.6.6)
_COMFYUI_TAGS = (ExifTags.Base.Make, ExifTags.Base.Model)  # in which ComfyUI's WebP has its graphs
_NAMES_SHOWN = 6
_OTHER_NOISE = ("a1111", "comfyui", "swarmui", "invokeai")


@dataclass(frozen=True)
class ImagesSource:
    """Rows of image files in order of their paths."""

    name: str
    spool: Spool
    mapping: ColumnMapping = field(default_factory=ColumnMapping)

    def schema(self) -> None:
        """Known once every row is read."""

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[SourceBlock]:
        lines = self.spool.lines(start)
        while found := [json.loads(line) for line in islice(lines, block_rows)]:
            faults = {
                position: Fault("", "without settings to repeat", row[_FAULT])
                for position, row in enumerate(found)
                if _FAULT in row
            }
            values = [mapped({name: row[name] for name in row if name != _FAULT}, self.mapping) for row in found]
            yield _named(rows_block(start, values, faults, types), found)
            start += len(found)

    def check_unchanged(self) -> None:
        """What was read from files is not read again."""

    def content_digest(self) -> str:
        return digest("images", self.spool.sha256, length=64)


def images_source(place: Place, mapping: ColumnMapping) -> tuple[ImagesSource, list[str]]:
    """Rows of the images at a place, and what is to be told of them. Raises DarkroomError where there are none, or
    where one cannot be reached."""
    found = scan(place, Kinds(ENDINGS, "images", exclude=_beside, exclude_reason="JSON beside images"))
    if not found.files:
        left_out = "".join(f"; {sentence}" for sentence in found.left_out)
        raise DarkroomError(f"prompts.uri={place.uri}: no such image, or none there{left_out}; needed {_NEEDED}")
    for file in found.files:
        if file.ending not in ENDINGS:
            raise DarkroomError(f"{file.name}: not an image; needed {_NEEDED}")
    told = _Told()
    spool = Spool(json.dumps(told.of(row)).encode() for row in _rows(found.files, found.base))
    notes = [f"{place.uri}: {sentence}" for sentence in (*found.left_out, *told.sentences())]
    return ImagesSource(place.uri, spool, mapping), notes


@dataclass
class _Told:
    """Of the rows, what is to be told once."""

    unread: Counter[str] = field(default_factory=Counter)
    tools: Counter[str] = field(default_factory=Counter)

    def of(self, row: dict[str, Any]) -> dict[str, Any]:
        names = row.get("not_read", ())
        self.unread.update(names)
        self.tools.update(filter(None, [row.get("made_by")]))
        return {**row, "not_read": ", ".join(names) or None}

    def sentences(self) -> Iterator[str]:
        if self.unread:
            most = [f"{name} ({count:,})" for name, count in self.unread.most_common(_NAMES_SHOWN)]
            more = f" and {len(self.unread) - _NAMES_SHOWN} more" if len(self.unread) > _NAMES_SHOWN else ""
            yield f"images were made with what is no setting of rows: {', '.join(most)}{more}; see column 'not_read'"
        if tools := [tool for tool in _OTHER_NOISE if self.tools[tool]]:
            yield f"seeds of {', '.join(tools)} draw other noise here: the images will be others of the same settings"


def _beside(files: Sequence[InputFile]) -> list[InputFile]:
    """JSON that lies beside images, which say the same themselves."""
    texts = [file for file in files if file.ending == ".json"]
    return texts if len(texts) < len(files) else []


def _rows(files: Sequence[InputFile], base: str) -> Iterator[dict[str, Any]]:
    """In order; files are read ahead by several threads."""
    with ThreadPoolExecutor(_READERS) as pool:
        for first in range(0, len(files), _READ_AHEAD):
            yield from pool.map(
                lambda file: _row(file, file.path[len(base) :].lstrip("/")), files[first : first + _READ_AHEAD]
            )


def _row(file: InputFile, name: str) -> dict[str, Any]:
    try:
        made = made_of(_texts(file))
    except Unreadable as error:
        return {"prompt_id": name, _FAULT: str(error).encode(errors="replace").decode()}
    return {"prompt_id": name, **made.row}


def _named(block: SourceBlock, rows: Sequence[Mapping[str, Any]]) -> SourceBlock:
    return SourceBlock(block.start, block.table, block.faults, called=lambda position: str(rows[position]["prompt_id"]))


# Texts of files -------------------------------------------------------------------------------------------------------


def _texts(file: InputFile) -> dict[str, str]:
    """By their names. Raises Unreadable for what is no image."""
    with file.reading(), file.open_file() as stream:
        head = stream.read(_HEAD_BYTES)
        if file.ending == ".png" and NAMES & (found := _png_texts(head, is_whole=False)).keys():
            return found
        data = head + stream.read()
    if file.ending == ".json":
        return dict(texts_of_json(data.decode(errors="replace")))
    return _png_texts(data, is_whole=True) if file.ending == ".png" else _exif_texts(data)


def _png_texts(data: bytes, is_whole: bool) -> dict[str, str]:
    """Those before the pixels, or else those after them, where the data is whole."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            found = _strings(image.info)
            if is_whole and not NAMES & found.keys():
                image.load()
                found = _strings(image.info)
            return found
    except Exception as error:  # Pillow raises what its decoders raise
        if not is_whole:
            return {}
        raise Unreadable(f"it is not readable as an image ({type(error).__name__})") from error


def _exif_texts(data: bytes) -> dict[str, str]:
    try:
        with Image.open(io.BytesIO(data), formats=["WEBP", "JPEG", "PNG"]) as image:
            exif, found = image.getexif(), _strings(image.info)
    except Exception as error:
        raise Unreadable(f"it is not readable as an image ({type(error).__name__})") from error
    comment = exif.get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment)
    if comment:
        found["parameters"] = _comment(comment)
    for tag in _COMFYUI_TAGS:
        name, colon, text = str(exif.get(tag, "")).partition(":")
        if colon and name in ("prompt", "workflow"):
            found[name] = text.rstrip("\0")
    return found


def _comment(comment: bytes | str) -> str:
    """Text of Exif's UserComment: in UTF-16 of either order, as tools differ in it."""
    if isinstance(comment, str):
        return comment
    if comment.startswith(_UNICODE):
        data = comment.removeprefix(_UNICODE)
        order = "utf-16-be" if data[0::2].count(0) >= data[1::2].count(0) else "utf-16-le"
        return data.decode(order, "replace")
    return comment.removeprefix(_ASCII).decode(errors="replace")


def _strings(info: Mapping[Any, Any]) -> dict[str, str]:
    return {str(name): str(value) for name, value in info.items() if isinstance(value, str)}
