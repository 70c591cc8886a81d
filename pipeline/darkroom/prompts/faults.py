"""Why a row cannot be rendered, in the words of its column."""

from dataclasses import dataclass

from darkroom.domain.settings import ROW_SETTINGS

RANGES = {each.name: each.allowed for each in ROW_SETTINGS if each.allowed}


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
