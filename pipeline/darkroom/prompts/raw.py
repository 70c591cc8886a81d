"""What a reader gives: a source's rows as they are written, before any check.

A source is a file, a table or a template. Its columns bear their own names, save those that are read, which bear ours.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from darkroom.prompts.faults import Fault


@dataclass(frozen=True)
class RawBlock:
    """A contiguous run of a source's rows."""

    start: int  # row in the source
    table: pa.Table  # `prompt`, and whatever else there is
    faults: dict[int, Fault] = field(default_factory=dict)  # by position: rows that cannot be read at all
    lines: Sequence[int] | None = None  # by position: line of the file, where rows are lines


class Source(Protocol):
    @property
    def name(self) -> str: ...

    def schema(self) -> pa.Schema | None:
        """Columns as far as they are known without reading rows; refuses a file that has no prompts."""
        ...

    def read(self, start: int, block_rows: int, types: pa.Schema | None) -> Iterator[RawBlock]:
        """Rows from `start` on, with the extra columns of `types`; without `types`, a source that knows its schema
        leaves extra columns out.
        """
        ...

    def check_unchanged(self) -> None:
        """Refuse to go on with a source that is no longer what it was."""
        ...

    def content_digest(self) -> str:
        """Equal for equal content, in any process."""
        ...
