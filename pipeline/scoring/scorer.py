"""The worker that scores: reads a committed shard's images, and stores their features beside the run.

Each image is decoded once, whatever the number of extractors. One device thread owns them, as with rendering.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from pipeline.domain.records import OK, Record
from pipeline.encoding.images import decode
from pipeline.features.extractor import Extractor
from pipeline.runs import manifest
from pipeline.runs.features import ImageFeatures, joined, put_features
from pipeline.runs.reading import with_bytes
from pipeline.runs.records import to_records
from pipeline.storage.store import Store
from pipeline.worker.scores import scored
from pipeline.worker.tasks import ScoreTask, ShardReport, Task

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
        """Score every image of a committed shard; an exception leaves nothing stored."""
        assert isinstance(task, ScoreTask)
        started = time.perf_counter()
        table = manifest.read(self._store, task.name)
        ok = [record for record in to_records(table) if record.status == OK]
        parts = list(self._parts(ok))
        for number, extractor in enumerate(self._extractors):
            whole = joined([part[number] for part in parts])
            put_features(self._store, extractor.info.extractor_id, task.name, whole)
        num_bytes = sum(record.bytes or 0 for record in ok)
        return ShardReport(len(ok), 0, num_bytes, render_s=0.0, wall_s=time.perf_counter() - started)

    def close(self) -> None:
        self._stop.set()
        for pool in (self._device, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _parts(self, records: Sequence[Record]) -> Iterator[list[ImageFeatures]]:
        """Features of one chunk after another; of an empty shard, those of no image."""
        for start in range(0, max(1, len(records)), _CHUNK):
            if self._stop.is_set():
                raise InterruptedError("the scorer was closed")
            chunk = records[start : start + _CHUNK]
            files = [data for _, data in with_bytes(self._store, chunk)]
            pictures = list(self._decoders.map(decode, files))
            names, prompts = [record.image_id for record in chunk], [record.prompt for record in chunk]
            yield self._device.submit(scored, self._extractors, names, pictures, prompts).result()
