"""What a prompt dataset gives: blocks of rows, and what a full check of it found.

Knows no file format.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pyarrow as pa

from darkroom.domain.requests import PromptRow

BLOCK_ROWS = 8192


@dataclass(frozen=True)
class PromptBlock:
    """A contiguous run of rows."""

    start: int  # dataset row of the first
    rows: list[PromptRow]
    extras: pa.Table  # the columns that Darkroom does not read: same length, same schema in every block; where there
    # are none, a table without columns, of which Arrow does not keep the length


@dataclass(frozen=True)
class PromptScan:
    """What a full check of a dataset found."""

    num_rows: int
    num_images: int  # over valid rows: their own num_images_per_prompt, or the run's
    num_invalid: int  # rows kept as failed records; 0 unless on_invalid is "record"
    fingerprint: str  # digest of the content: SHA-256 of files' bytes in order; on S3, of each object's ETag and size
    extras_schema: pa.Schema
    max_prompt_chars: int
    num_repeats: int  # rows without an id that say what an earlier row says
    num_overriding: Mapping[str, int]  # setting -> valid rows that say it themselves, where there are any
    warnings: tuple[str, ...]

    @property
    def overriding(self) -> str:
        """For people: how many rows override which of the run's settings; empty where none does."""
        return ", ".join(f"{name} ({count:,})" for name, count in self.num_overriding.items())


class PromptDataset(Protocol):
    def scan(self, num_images_per_prompt: int) -> PromptScan:
        """Check every row; DarkroomError names the first kind of trouble, with row numbers, in one line."""
        ...

    def blocks(self, start: int = 0, block_rows: int = BLOCK_ROWS) -> Iterator[PromptBlock]:
        """Rows from dataset row `start` on, in flat memory; whole row groups and files before it are not read."""
        ...
