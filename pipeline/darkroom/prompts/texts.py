"""Text sources of one prompt a line, and the lines of a file.

Lines end in \\n, \\r\\n or \\r and nowhere else, whatever Unicode thinks of U+2028.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import pyarrow as pa

from darkroom.prompts.faults import Fault, shown
from darkroom.prompts.files import PromptFile
from darkroom.prompts.raw import RawBlock

_CHUNK_BYTES = 1 << 20


@dataclass(frozen=True)
class LinesSource:
    """One prompt a line. Blank lines are empty prompts, save those at the end of the file."""

    file: PromptFile

    @property
    def name(self) -> str:
        return self.file.name

    def schema(self) -> pa.Schema:
        return pa.schema([("prompt", pa.string())])

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        with self.file.reading(), self.file.open_stream() as stream:
            numbered = islice(_without_blank_end(lines(stream)), start, None)
            while rows := list(islice(numbered, block_rows)):
                self.file.check_unchanged()
                cells = pa.array([line for _, line in rows], pa.binary())
                numbers = [number for number, _ in rows]
                yield RawBlock(numbers[0] - 1, pa.table({"prompt": cells}), _not_text(rows), numbers)

    def check_unchanged(self) -> None:
        self.file.check_unchanged()

    def content_digest(self) -> str:
        return lines_digest(self.file)


def _not_text(rows: Sequence[tuple[int, bytes]]) -> dict[int, Fault]:
    """Lines with NUL bytes: those of another encoding, for certain or by accident."""
    return {row: Fault("prompt", "not text", shown(line)) for row, (_, line) in enumerate(rows) if b"\0" in line}


def lines(stream: pa.NativeFile) -> Iterator[tuple[int, bytes]]:
    """Numbered lines without their ends and without a byte order mark."""
    return enumerate(_lines(stream), start=1)


def lines_digest(file: PromptFile) -> str:
    """Of a file of lines, which was another one before a lone \\r ended a line."""
    last, num_returns = b"", 0
    with file.reading(), file.open_stream() as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            num_returns += chunk.count(b"\r") - (last + chunk).count(b"\r\n")
            last = chunk[-1:]
    return file.text_digest("lone returns" if num_returns else "")


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    held = stream.read(_CHUNK_BYTES).removeprefix(b"\xef\xbb\xbf")
    while chunk := stream.read(_CHUNK_BYTES):
        # The last line may go on, and so may its end: \r and \n may come in two chunks.
        *whole, held = held.splitlines(keepends=True) or [b""]
        yield from (line.rstrip(b"\r\n") for line in whole)
        held += chunk
    yield from held.splitlines()


def _without_blank_end(numbered: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    blank: list[tuple[int, bytes]] = []
    for number, line in numbered:
        blank.append((number, line))
        if line.strip():
            yield from blank
            blank.clear()
