"""Scores of a run's images with other images' prompts: what a scorer that reads prompts says where nothing fits."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.prompt_syntax import read_prompt
from darkroom.domain.records import Record
from darkroom.engine.extraction import Picture, extract, prompt_rows
from darkroom.evaluation.extractor import Extractor, end_scorers
from darkroom.evaluation.reference_measuring import cached_rows
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.features import ExtractorInfo
from darkroom.runs.images import stored_files
from darkroom.runs.listing import Committed
from darkroom.runs.manifest import extra_columns, to_records
from darkroom.runs.videos import video_in
from darkroom.storage.store import Store

_CHUNK = 32  # images in memory at once


@dataclass(frozen=True)
class _Told:
    """An image's record, and what a scorer is told of its prompt beside the text."""

    record: Record
    row: Mapping[str, Any]

    @property
    def words(self) -> str:
        return read_prompt(self.record.prompt, self.record.sampling.prompt_syntax).text


def rescored(
    store: Store,
    shards: Iterable[Committed],
    info: ExtractorInfo,
    load: Callable[[], Extractor],
    cache: Store,
    pairs: Sequence[tuple[str, str]],
) -> np.ndarray:
    """(n, dimension) float32 scores of n images, each with the prompt and the columns of another: (image_id, the
    other's). NaN where a score does not apply.

    `load` is called where they are not cached. Raises DarkroomError for an image that cannot be scored.
    """
    known = _told(store, shards, {image_id for pair in pairs for image_id in pair}, info.columns)
    chosen = [(known[own].record, known[other]) for own, other in pairs]
    ids = tuple(digest("shuffled", own.sha256, told.words, told.row) for own, told in chosen)
    return cached_rows(ids, info, lambda: _scored(store, load(), chosen), cache)


def _told(store: Store, shards: Iterable[Committed], image_ids: set[str], columns: Sequence[str]) -> dict[str, _Told]:
    """By image_id."""
    found: dict[str, _Told] = {}
    for shard, table in read_each(store, shards, ["image_id"]):
        places = [place for place, name in enumerate(table["image_id"].to_pylist()) if name in image_ids]
        if places:
            whole = manifest.read(store, shard).take(places)
            records = to_records(whole)
            names = [(record.prompt_id, record.sample_index) for record in records]
            rows = prompt_rows(names, extra_columns(whole), columns)
            found |= {record.image_id: _Told(record, row) for record, row in zip(records, rows, strict=True)}
    return found


def _scored(store: Store, scorer: Extractor, chosen: Sequence[tuple[Record, _Told]]) -> np.ndarray:
    rows = [np.empty((0, scorer.info.dimension), np.float32)]
    try:
        for start in range(0, len(chosen), _CHUNK):
            chunk = chosen[start : start + _CHUNK]
            files = stored_files(store, [own for own, _ in chunk])
            pictures = [
                Picture(file.record.image_id, told.words, file.pixels(), file.sha256, told.row, video_in(file.data))
                for file, (_, told) in zip(files, chunk, strict=True)
            ]
            found = extract(scorer, pictures)
            for image_id, error in zip(found.image_ids, found.errors, strict=True):
                if error:
                    raise DarkroomError(f"image {image_id} with another one's prompt: {error}")
            rows.append(found.images.features)
    finally:
        end_scorers([scorer])
    return np.concatenate(rows)
