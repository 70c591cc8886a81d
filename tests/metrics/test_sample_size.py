import pytest

from darkroom.metrics.sample_size import sample_size_warnings


@pytest.mark.parametrize(
    ("num_images", "num_reference", "expected"),
    [
        (4096, 4096, []),
        (50_000, None, []),
        (4095, None, ["the 4,095 images are fewer"]),
        (4096, 5000, ["4,096 images against 5,000"]),
        (100, 200, ["the 100 images", "the reference's 200 images", "100 images against 200"]),
    ],
)
def test_what_is_said(num_images: int, num_reference: int | None, expected: list[str]) -> None:
    found = sample_size_warnings(num_images, num_reference, 2048)
    assert len(found) == len(expected)
    assert all(line.startswith(start) for line, start in zip(found, expected, strict=True))
