"""Samples grouped into batches that one call of the model can render."""

from collections.abc import Iterable, Iterator, Sequence

from darkroom.domain.requests import Sample


def batches(samples: Iterable[Sample], batch_size: int, mixes_guidance: bool = False) -> Iterator[Sequence[Sample]]:
    """Batches of at most `batch_size` samples with the same `batch_key`, in order of its first appearance."""
    groups: dict[object, list[Sample]] = {}
    for sample in samples:
        groups.setdefault(sample.request.batch_key(mixes_guidance), []).append(sample)
    for group in groups.values():
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]
