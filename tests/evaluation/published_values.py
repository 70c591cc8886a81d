"""What the reference packages gave on seeded data, where the checkout has the file beside it."""

import json
from pathlib import Path
from typing import Any

import pytest

_FILE = Path(__file__).parents[3] / "shared" / "data" / "metrics" / "reference_values.json"


def reference_values(metric: str) -> list[dict[str, Any]]:
    if not _FILE.is_file():
        pytest.skip("the reference values are not beside this checkout; those written into the tests are checked")
    return json.loads(_FILE.read_text())[metric]
