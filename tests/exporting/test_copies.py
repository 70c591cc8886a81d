"""Which images are copies of others, by what records say."""

from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from darkroom.exporting.copies import by_pixels


def test_images_of_other_texts_on_equal_pixels_are_no_copies() -> None:
    rows = {
        "image_id": ["bare", "again", "sale", "new", "sale again"],
        "pixels_sha256": ["p"] * 5,
        "stored_pixels_sha256": [None, None, "sale", "new", "sale"],
    }
    run: Any = SimpleNamespace(cells={}, blocks=lambda columns: [pa.table(rows).select(["image_id", *columns])])
    found = by_pixels([run]).table.select(["image_id", "copy_of", "why"]).to_pylist()
    assert [tuple(row.values()) for row in found] == [("again", "bare", "pixels"), ("sale again", "sale", "pixels")]
