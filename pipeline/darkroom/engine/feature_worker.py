"""The worker that makes features: reads a committed shard's images, and stores their features beside the run.

Only images without features of their present file are read, and only files that are what their records say count. Each
is decoded once, whatever the number of extractors. One device thread owns these, as with rendering.
"""

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard
from darkroom.domain.progress import Doing
from darkroom.domain.prompt_syntax import read_prompt
from darkroom.domain.records import OK, Record
from darkroom.engine.extraction import Picture, columns_read, extract, prompt_rows, without_features
from darkroom.engine.tasks import FeatureTask, ShardReport, Task
from darkroom.evaluation.extractor import Extractor, ExtractorSpec, end_scorers, start_scorers
from darkroom.evaluation.opening import load_extractor
from darkroom.runs import manifest
from darkroom.runs.features import ShardFeatures, get_features, joined_features, put_features
from darkroom.runs.images import StoredFile, stored_files
from darkroom.runs.manifest import extra_columns, to_records
from darkroom.runs.videos import video_in
from darkroom.storage.store import Store, StoreSpec, open_store

_CHUNK = 64  # images decoded at a time: what bounds the memory
_NUM_DECODERS = 4  # threads; decoding releases the interpreter's lock


@dataclass(frozen=True)
class FeatureWorkerSpec:
    """What the worker is made from: small, picklable, without a secret. Calling it makes the worker where it is."""

    extractors: tuple[ExtractorSpec, ...]
    store: StoreSpec

    def __call__(self) -> "FeatureWorker":
        return FeatureWorker(lambda: [load_extractor(spec) for spec in self.extractors], open_store(self.store))


class FeatureWorker:
    """Holds loaded extractors and answers tasks, from as many threads as call it."""

    def __init__(self, load: Callable[[], Sequence[Extractor]], store: Store) -> None:
        self._store = store
        self._doing = Doing()
        self._device = ThreadPoolExecutor(1, "device")
        self._decoders = ThreadPoolExecutor(_NUM_DECODERS, "decode")
        self._stop = threading.Event()
        self._extractors: Sequence[Extractor] = ()
        try:
            self._extractors = self._device.submit(load).result()
            self._device.submit(start_scorers, self._extractors).result()
        except BaseException:  # an interrupt too: its threads would wait for work for ever
            self.close()
            raise

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        """Make the features that a committed shard lacks; an exception leaves nothing stored."""
        assert isinstance(task, FeatureTask)
        started = time.perf_counter()
        self._doing.taken()  # of a try that failed
        with self._doing.at("reading records and features"):
            table = manifest.read(self._store, task.shard)
            known = [self._known(extractor, task.shard) for extractor in self._extractors]
        records = to_records(table)
        ok = [record for record in records if record.status == OK]
        names = [(record.prompt_id, record.sample_index) for record in records]
        told = prompt_rows(names, extra_columns(table), columns_read(self._extractors))
        rows = {record.image_id: row for record, row in zip(records, told, strict=True)}
        extractions = [_Extraction(*pair, ok, rows) for pair in zip(self._extractors, known, strict=True)]
        missing = [record for record in ok if any(each.is_missing(record) for each in extractions)]
        for chunk in _chunks(missing):
            self._extract(chunk, extractions)
        failed = set[str]()
        for each in extractions:
            whole = each.result()
            with self._doing.at("storing features"):
                put_features(self._store, each.extractor.info.extractor_id, task.shard, whole)
            failed.update(image_id for image_id, error in zip(whole.image_ids, whole.errors, strict=True) if error)
        num_bytes = sum(record.bytes or 0 for record in missing)
        wall_s, stage_s = time.perf_counter() - started, self._doing.taken()
        return ShardReport(len(ok) - len(failed), len(failed), num_bytes, render_s=0.0, wall_s=wall_s, stage_s=stage_s)

    def longest(self) -> tuple[str, float] | None:
        """The stage that one of its threads has been at for longest, with the seconds; None where all are idle."""
        return self._doing.longest()

    def close(self) -> None:
        self._stop.set()
        end_scorers(self._extractors)
        for pool in (self._device, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _known(self, extractor: Extractor, shard: Shard) -> ShardFeatures | None:
        """What is stored already, unless it is damaged or of another dimension."""
        found = get_features(self._store, extractor.info.extractor_id, shard)
        return found if found and found.images.features.shape[1] == extractor.info.dimension else None

    def _extract(self, records: Sequence[Record], extractions: "Sequence[_Extraction]") -> None:
        if self._stop.is_set():
            raise InterruptedError("the feature worker was closed")
        with self._doing.at("reading images"):
            files = list(self._decoders.map(_decoded, stored_files(self._store, records)))
        with self._doing.at("extracting features"):  # and waiting for another shard's
            self._device.submit(_add, extractions, files).result()


class _Extraction:
    """One extractor's features of one shard, some of which were there before."""

    def __init__(
        self,
        extractor: Extractor,
        known: ShardFeatures | None,
        ok: Sequence[Record],
        told: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """`told`: of each image, by its image_id, what `prompt_rows` says."""
        self.extractor, self._told = extractor, told
        places = [known.place(record.image_id, record.sha256) if known else None for record in ok]
        rows = [place for place in places if place is not None]
        self._order = [record.image_id for record in ok]
        self._has = {record.image_id for record, place in zip(ok, places, strict=True) if place is not None}
        self._parts = [known.taken(rows) if known else extract(extractor, [])]

    def is_missing(self, record: Record) -> bool:
        return record.image_id not in self._has

    def add(self, files: Sequence[tuple[StoredFile, np.ndarray | None]]) -> None:
        """On the device's thread."""
        missing = [(file, pixels) for file, pixels in files if self.is_missing(file.record)]
        pictures = [
            Picture(
                file.record.image_id,
                _caption(file.record),
                pixels,
                file.sha256,
                self._told[file.record.image_id],
                video_in(file.data),
            )
            for file, pixels in missing
            if pixels is not None
        ]
        self._parts.append(extract(self.extractor, pictures))
        for file, pixels in missing:
            if pixels is None:
                self._parts.append(
                    without_features(self.extractor, file.record.image_id, file.sha256, file.fault or "")
                )

    def result(self) -> ShardFeatures:
        """In the order of records."""
        return joined_features(self._parts).of(self._order)


def _caption(record: Record) -> str:
    """The words of its prompt, without weights and LoRAs."""
    return read_prompt(record.prompt, record.sampling.prompt_syntax).text


def _add(extractions: Sequence[_Extraction], files: Sequence[tuple[StoredFile, np.ndarray | None]]) -> None:
    for extraction in extractions:
        extraction.add(files)


def _chunks(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    return (records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK))


def _decoded(file: StoredFile) -> tuple[StoredFile, np.ndarray | None]:
    """With its pixels; None, and the reason, for what is not the image that was committed."""
    try:
        return file, file.pixels()
    except DarkroomError as error:
        return replace(file, fault=str(error)), None
