from pathlib import Path

import pytest

from tests.references.making import Measuring


@pytest.fixture
def measure(tmp_path: Path) -> Measuring:
    return Measuring(tmp_path / "cache")
