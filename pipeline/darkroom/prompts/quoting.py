"""Whether a tab-separated file quotes its cells, as spreadsheets write them, or holds quotes as they are; and whether
a quoted cell has an end.

Told by the whole file, since one cell may be either: `"Hello"` is a quoted Hello, or Hello in quotes. Knows bytes.
"""

import re
from collections.abc import Iterator
from typing import Literal

import pyarrow as pa

_CHUNK_BYTES = 4 << 20
_MOST_BYTES = 2 << 20  # of a quoted cell
_LINE_END = re.compile(rb"\r\n|\r|\n")
_QUOTED = re.compile(rb'"((?:[^"]|"")*+)"(?=[\t\r\n]|\Z)')


_CLOSED = re.compile(rb'"(?:[^"]|"")*+"')

Quoting = Literal["absent", "quoted", "literal"]


def quoting_of(stream: pa.NativeFile) -> Quoting:
    """Absent where no cell begins with a quote.

    Quoted where all that do are quoted well, and one of them is the header's or needs its quotes; else literal.
    """
    is_seen, is_needed, num_tabs, header_end = False, False, 0, -1
    held = b"\n"  # cells begin behind a separator
    for chunk, is_last in _chunks(stream):
        held += chunk
        if header_end < 0:
            header_end = len(header := _LINE_END.split(held[1:], 1)[0])
            num_tabs = header.count(b"\t")
        place = 0
        while (opening := _opening(held, place, b"\t\r\n")) > 0:
            cell = _QUOTED.match(held, opening)
            is_whole = is_last or (cell is not None and cell.end() < len(held))
            if not is_whole and len(held) - opening < _MOST_BYTES:
                break
            if cell is None:
                return "literal"
            is_seen = True
            is_needed = is_needed or opening <= header_end or _needs_quotes(cell[1], num_tabs)
            place = cell.end()
        held, header_end = held[opening - 1 if opening > 0 else max(place, len(held) - 1) :], 0
    return "quoted" if is_needed else "literal" if is_seen else "absent"


def is_closed(stream: pa.NativeFile, delimiter: str) -> bool:
    """Whether each quote that begins a cell has one that ends it: otherwise the last cell has taken what follows."""
    held, opening = b"\n", -1
    for chunk, is_last in _chunks(stream):
        held += chunk
        place = 0
        while (opening := _opening(held, place, delimiter.encode() + b"\r\n")) > 0:
            cell = _CLOSED.match(held, opening)
            if cell is None or (cell.end() == len(held) and not is_last):
                break
            place = cell.end()
        held = held[opening - 1 if opening > 0 else max(place, len(held) - 1) :]
    return opening < 0


def _opening(text: bytes, place: int, separators: bytes) -> int:
    """Where the next quote behind a separator is; -1 where none is."""
    while (place := text.find(b'"', place)) > 0 and text[place - 1] not in separators:
        place += 1
    return place


def _needs_quotes(cell: bytes, num_tabs: int) -> bool:
    """Whether a cell makes no sense without its quotes: it holds doubled ones, or tabs and lines that fit no table.

    Two cells that begin and end with a quote, rows apart, look like one; without the quotes they are whole rows.
    """
    if b'""' in cell:
        return True
    first, *others = [line.count(b"\t") for line in _LINE_END.split(cell)]
    if not others:
        return first > 0
    *between, last = others
    return num_tabs == 0 or first + last != num_tabs or any(tabs != num_tabs for tabs in between)


def _chunks(stream: pa.NativeFile) -> Iterator[tuple[bytes, bool]]:
    """Chunks, and whether each is the last."""
    with stream:
        chunk = stream.read(_CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf")
        while chunk:
            following = stream.read(_CHUNK_BYTES)
            yield chunk, not following
            chunk = following
