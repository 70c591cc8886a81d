"""What the drills share: the dataset of an undisturbed run, a place in S3, and the account that has no loss in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import drills
from tests.faults.account import Tally, Whole, whole
from tests.servers import FaultyProxy

ZERO = (drills.NUM_PROMPTS * drills.NUM_IMAGES, 0, 0, 0)


def counts(tally: Tally) -> tuple[int, int, int, int]:
    return tally.found, tally.lost, tally.doubled, tally.differing


@pytest.fixture(scope="session")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """Of an undisturbed run."""
    here = drills.place(tmp_path_factory.mktemp("whole"))
    here.finish()
    return whole(here.store)


@pytest.fixture
def in_s3(s3_endpoint: str, tmp_path: Path) -> Iterator[tuple[drills.Place, FaultyProxy]]:
    with drills.s3_place(tmp_path, s3_endpoint) as made:
        yield made
