"""Scores of a run's images with other images' prompts: what a scorer that reads prompts says where nothing fits."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.domain.prompt_syntax import read_prompt
from darkroom.domain.records import Record
from darkroom.engine.extraction import Picture, columns_read, extract, prompt_rows
from darkroom.evaluation.extractor import Extractor
from darkroom.runs import manifest
from darkroom.runs.bulk import read_each
from darkroom.runs.images import stored_files
from darkroom.runs.listing import Committed
from darkroom.runs.manifest import extra_columns, to_records
from darkroom.storage.store import Store

_CHUNK = 32  # images in memory at once


def rescored(
    store: Store, shards: Iterable[Committed], scorer: Extractor, pairs: Sequence[tuple[str, str]]
) -> np.ndarray:
    """(n, dimension) float32 scores of n images, each with the prompt and the columns of another: (image_id, the
    other's). NaN where a score does not apply, or the image cannot be read.
    """
    known = _told(store, shards, {image_id for pair in pairs for image_id in pair}, columns_read([scorer]))
    rows = [np.empty((0, scorer.info.dimension), np.float32)]
    for start in range(0, len(pairs), _CHUNK):
        rows.append(_scores(store, scorer, [(known[own][0], known[other]) for own, other in pairs[start:][:_CHUNK]]))
    return np.concatenate(rows)


def _told(
    store: Store, shards: Iterable[Committed], image_ids: set[str], columns: Sequence[str]
) -> dict[str, tuple[Record, Mapping[str, Any]]]:
    """image_id -> its record, and what `prompt_rows` says of it."""
    found: dict[str, tuple[Record, Mapping[str, Any]]] = {}
    for shard, table in read_each(store, shards, ["image_id"]):
        places = [place for place, name in enumerate(table["image_id"].to_pylist()) if name in image_ids]
        if places:
            whole = manifest.read(store, shard).take(places)
            records = to_records(whole)
            names = [(record.prompt_id, record.sample_index) for record in records]
            told = prompt_rows(names, extra_columns(whole), columns)
            found |= {record.image_id: (record, row) for record, row in zip(records, told, strict=True)}
    return found


def _scores(
    store: Store, scorer: Extractor, chunk: Sequence[tuple[Record, tuple[Record, Mapping[str, Any]]]]
) -> np.ndarray:
    scores = np.full((len(chunk), scorer.info.dimension), np.nan, np.float32)
    pictures: dict[int, Picture] = {}
    for place, (file, (_, (other, row))) in enumerate(
        zip(stored_files(store, [own for own, _ in chunk]), chunk, strict=True)
    ):
        try:
            pixels = file.pixels()
        except DarkroomError:  # which evaluation has told already
            continue
        words = read_prompt(other.prompt, other.sampling.prompt_syntax).text
        pictures[place] = Picture(file.record.image_id, words, pixels, file.sha256, row)
    if pictures:
        scores[list(pictures)] = extract(scorer, list(pictures.values())).images.features
    return scores
