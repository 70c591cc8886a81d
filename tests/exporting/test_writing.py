"""Sizes of shards."""

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.exporting.dataset import SplitCount
from darkroom.exporting.writing import shard_sizes


@pytest.mark.parametrize(
    ("layout", "count", "size_bytes", "given", "sizes"),
    [
        ("parquet", 10, 1000, 4, [4, 3, 3]),
        ("parquet", 10, 1000, 10, [10]),
        ("webdataset", 10, 1000, None, [10]),
        ("webdataset", 1000, 1000 << 20, None, [250] * 4),
        ("imagefolder", 20_001, 1 << 40, None, [6667] * 3),
        ("parquet", 3, 3 << 29, None, [1, 1, 1]),
    ],
)
def test_shards_are_equal_but_for_one_image(
    layout: str, count: int, size_bytes: int, given: int | None, sizes: list[int]
) -> None:
    assert shard_sizes(layout, SplitCount(count, size_bytes), given) == sizes


def test_a_shard_that_does_not_fit_in_memory_is_refused() -> None:
    with pytest.raises(DarkroomError, match=r"shard_size=5000: shards of 5.2 GB, .* give at most 1024, or auto"):
        shard_sizes("parquet", SplitCount(10_000, 10_000 << 20), 5000)
