"""Why a row cannot be rendered, and what a value range is. Knows no column and no file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Range:
    low: int
    high: int
    multiple: int = 1

    def __str__(self) -> str:
        step = f"a multiple of {self.multiple} " if self.multiple > 1 else ""
        return f"{step}from {self.low} to {self.high}"


RANGES = {
    "seed": Range(0, 2**63 - 1),
    "guidance_scale": Range(0, 1000),
    "num_inference_steps": Range(1, 10_000),
    "height": Range(8, 16_384, multiple=8),
    "width": Range(8, 16_384, multiple=8),
    "num_images_per_prompt": Range(1, 1_000_000),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a row cannot be rendered."""

    column: str  # empty when the row as a whole cannot be read
    kind: str  # null, empty, not text, not valid UTF-8, not a number, not a whole number, out of range, ...
    value: str = ""  # what was found, cut short

    def __str__(self) -> str:
        found = f": {self.value}" if self.value else ""
        if not self.column:
            return f"the row is {self.kind}{found}"
        needed = f" (needed: {RANGES[self.column]})" if self.kind == "out of range" else ""
        return f"column {self.column!r} is {self.kind}{needed}{found}"


def shown(value: object, most: int = 60) -> str:
    """A value for a message, in one line."""
    text = repr(value)
    return text if len(text) <= most else text[: most - 3] + "..."
