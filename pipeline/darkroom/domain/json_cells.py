"""Cells of tables as JSON has them."""

import base64
import math
from typing import Any


def json_cell(cell: object) -> Any:
    """Dates and decimals are text, bytes base64, numbers that are none null; a struct's null fields are left out, since
    Arrow gives every row the fields of all."""
    match cell:
        case None | bool() | int() | str():
            return cell
        case float():
            return cell if math.isfinite(cell) else None
        case bytes():
            return base64.b64encode(cell).decode()
        case list() | tuple():
            return [json_cell(each) for each in cell]
        case dict():
            return {name: json_cell(each) for name, each in cell.items() if each is not None}
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)
