"""Scores a shard's images while their pixels are still in memory: nothing is stored, fetched or decoded for it."""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor

import numpy as np

from pipeline.domain.images import Sample
from pipeline.features.extractor import Extractor
from pipeline.rendering.renderer import RenderedImage
from pipeline.runs.features import ImageFeatures, joined
from pipeline.worker.scores import scored

_CHUNK = 32  # pictures held before they are scored
LoadExtractors = Callable[[], Sequence[Extractor]]


class InlineScores:
    """Of one shard. Extractors belong to the device's thread."""

    def __init__(self, extractors: Sequence[Extractor], device: Executor) -> None:
        self._extractors = extractors
        self._device = device
        self._waiting: list[tuple[Sample, np.ndarray]] = []
        self._parts: list[list[ImageFeatures]] = []

    def add(self, batch: Sequence[Sample], images: Sequence[RenderedImage]) -> None:
        pairs = zip(batch, images, strict=True)
        self._waiting += [(sample, image.pixels) for sample, image in pairs if image.pixels is not None]
        if len(self._waiting) >= _CHUNK:
            self._flush()

    def kept(self, image_ids: Collection[str]) -> dict[str, ImageFeatures]:
        """extractor_id -> features of these images, of all that were added."""
        self._flush()
        ids = [extractor.info.extractor_id for extractor in self._extractors]
        wholes = [joined([part[number] for part in self._parts]) for number in range(len(ids))]
        rows = [row for row, image_id in enumerate(wholes[0].image_ids) if image_id in image_ids] if wholes else []
        return {extractor_id: whole.taken(rows) for extractor_id, whole in zip(ids, wholes, strict=True)}

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        requests = [sample.request for sample, _ in waiting]
        names, prompts = [request.image_id for request in requests], [request.prompt for request in requests]
        pictures = [pixels for _, pixels in waiting]
        self._parts.append(self._device.submit(scored, self._extractors, names, pictures, prompts).result())
