"""The worker that scores: reads a committed shard's images, and stores their features beside the run.

Only what has no features of its present file is scored, and only files that are what their records say. Each image is
decoded once, whatever the number of extractors. One device thread owns them, as with rendering.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK, Record
from darkroom.features.extractor import Extractor
from darkroom.runs import manifest
from darkroom.runs.features import ScoredFiles, get_features, joined_files, put_features
from darkroom.runs.keys import ManifestName
from darkroom.runs.reading import StoredFile, stored_files
from darkroom.runs.records import to_records
from darkroom.storage.store import Store
from darkroom.worker.scores import Picture, scored_by, unscored
from darkroom.worker.tasks import ScoreTask, ShardReport, Task

_CHUNK = 64  # images decoded at a time: what bounds the memory
_NUM_DECODERS = 4  # threads; decoding releases the interpreter's lock


class Scorer:
    """Holds loaded extractors and answers tasks, from as many threads as call it."""

    def __init__(self, load: Callable[[], Sequence[Extractor]], store: Store) -> None:
        self._store = store
        self._device = ThreadPoolExecutor(1, "device")
        self._decoders = ThreadPoolExecutor(_NUM_DECODERS, "decode")
        self._stop = threading.Event()
        self._extractors = self._device.submit(load).result()

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """Score a committed shard's images that are not scored yet; an exception leaves nothing stored."""
        assert isinstance(task, ScoreTask)
        started = time.perf_counter()
        table = manifest.read(self._store, task.name)
        ok = [record for record in to_records(table) if record.status == OK]
        shards = [_Shard(extractor, self._known(extractor, task.name), ok) for extractor in self._extractors]
        missing = [record for record in ok if any(shard.is_missing(record) for shard in shards)]
        for chunk in _chunks(missing):
            self._score(chunk, shards)
        failed = set[str]()
        for shard in shards:
            whole = shard.result()
            put_features(self._store, shard.extractor.info.extractor_id, task.name, whole)
            failed.update(image_id for image_id, error in zip(whole.image_ids, whole.errors, strict=True) if error)
        num_bytes = sum(record.bytes or 0 for record in missing)
        wall_s = time.perf_counter() - started
        return ShardReport(len(ok) - len(failed), len(failed), num_bytes, render_s=0.0, wall_s=wall_s)

    def close(self) -> None:
        self._stop.set()
        for pool in (self._device, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _known(self, extractor: Extractor, name: ManifestName) -> ScoredFiles | None:
        """What is stored already, unless it is not this extractor's: damaged, or a stranger's."""
        found = get_features(self._store, extractor.info.extractor_id, name)
        return found if found and found.images.features.shape[1] == extractor.info.dimension else None

    def _score(self, records: Sequence[Record], shards: "Sequence[_Shard]") -> None:
        if self._stop.is_set():
            raise InterruptedError("the scorer was closed")
        files = list(self._decoders.map(_decoded, stored_files(self._store, records)))
        self._device.submit(_add, shards, files).result()


class _Shard:
    """One extractor's features of one shard, some of which were there before."""

    def __init__(self, extractor: Extractor, known: ScoredFiles | None, ok: Sequence[Record]) -> None:
        self.extractor = extractor
        places = [known.place(record.image_id, record.sha256) if known else None for record in ok]
        rows = [place for place in places if place is not None]
        self._order = [record.image_id for record in ok]
        self._has = {record.image_id for record, place in zip(ok, places, strict=True) if place is not None}
        self._parts = [known.taken(rows) if known else scored_by(extractor, [])]

    def is_missing(self, record: Record) -> bool:
        return record.image_id not in self._has

    def add(self, files: Sequence[tuple[StoredFile, np.ndarray | None]]) -> None:
        """On the device's thread."""
        missing = [(file, pixels) for file, pixels in files if self.is_missing(file.record)]
        pictures = [
            Picture(file.record.image_id, file.record.prompt, pixels, file.sha256)
            for file, pixels in missing
            if pixels is not None
        ]
        self._parts.append(scored_by(self.extractor, pictures))
        for file, pixels in missing:
            if pixels is None:
                self._parts.append(unscored(self.extractor, file.record.image_id, file.sha256, file.fault or ""))

    def result(self) -> ScoredFiles:
        """In the order of records."""
        return joined_files(self._parts).of(self._order)


def _add(shards: Sequence[_Shard], files: Sequence[tuple[StoredFile, np.ndarray | None]]) -> None:
    for shard in shards:
        shard.add(files)


def _chunks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK))


def _decoded(file: StoredFile) -> tuple[StoredFile, np.ndarray | None]:
    """With its pixels; None, and the reason, for what is not the image that was committed."""
    try:
        return file, file.pixels()
    except DarkroomError as error:
        return replace(file, fault=str(error)), None
