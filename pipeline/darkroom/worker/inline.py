"""Scores a shard's images while they are in memory: nothing is stored or fetched for it, nor decoded if lossless.

What is scored is what the image's file shows. A lossy format's file shows other pixels than those that were rendered.
"""

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.encoding.containers import Member
from darkroom.encoding.images import LOSSLESS, decode
from darkroom.features.extractor import Extractor
from darkroom.profiling.spans import OFF, Profile
from darkroom.runs.features import ScoredFiles, joined_files
from darkroom.worker.scores import Picture, scored, unscored

_CHUNK = 32  # pictures held before they are scored
LoadExtractors = Callable[[], Sequence[Extractor]]


class InlineScores:
    """Of one shard. Extractors belong to the device's thread; images come from any."""

    def __init__(
        self, extractors: Sequence[Extractor], device: Executor, image_format: str, profile: Profile = OFF
    ) -> None:
        self._extractors = extractors
        self._device = device
        self._is_lossless = image_format in LOSSLESS
        self._profile = profile
        self._adding = threading.Lock()
        self._waiting: list[Picture] = []
        self._parts: list[Future[list[ScoredFiles]]] = []
        self._unscored: list[list[ScoredFiles]] = []  # one image each

    def add(self, member: Member, pixels: np.ndarray) -> None:
        """An image that was encoded from these pixels. The device scores it between its batches."""
        try:
            shown = pixels if self._is_lossless else decode(member.data)
        except DarkroomError as error:  # such as an image that is larger than any that is read
            self._unscored.append([unscored(each, member.image_id, "", str(error)) for each in self._extractors])
            return
        with self._adding:
            self._waiting.append(Picture(member.image_id, member.prompt, shown))
            if len(self._waiting) >= _CHUNK:
                self._flush()

    def kept(self, stored: Mapping[str, str]) -> dict[str, ScoredFiles]:
        """extractor_id -> features of these images (image_id -> its file's digest), of all that were added."""
        with self._adding:
            self._flush()
        ids = [extractor.info.extractor_id for extractor in self._extractors]
        parts = [*(part.result() for part in self._parts), *self._unscored]
        wholes = [joined_files([part[number] for part in parts]) for number in range(len(ids))]
        return {extractor_id: _of(whole, stored) for extractor_id, whole in zip(ids, wholes, strict=True)}

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._parts.append(self._device.submit(self._scored, waiting))

    def _scored(self, pictures: Sequence[Picture]) -> list[ScoredFiles]:
        with self._profile.span("score"):
            return scored(self._extractors, pictures)


def _of(whole: ScoredFiles, stored: Mapping[str, str]) -> ScoredFiles:
    """In the order of `stored`, whatever order the images came in."""
    kept = whole.of(stored)
    return replace(kept, sha256s=tuple(stored[image_id] for image_id in kept.image_ids))
