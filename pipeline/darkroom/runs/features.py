"""Features of a run's images as they are stored: by shard and by extractor, and what names the latter.

A shard's features by one extractor are a Parquet file. Each row says which bytes it was made from, so that features
never outlive their image: they count only where that is the digest in the image's record. A file that
cannot be read holds no features; the next extraction makes them anew.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.identity import Shard, digest
from darkroom.domain.records import OK
from darkroom.runs.bulk import read_each
from darkroom.runs.commands import on_run
from darkroom.runs.files import features_key, features_prefix, manifest_key, parse_features_key
from darkroom.runs.listing import Committed, ShardSet
from darkroom.storage.store import NotFound, Store, StoreSpec, prefetched

_TRY_AGAIN = "ScorerDied: "  # how errors begin that may be of the moment: the next extraction tries such images again
# prompt_id, and which of the prompt's images it is: images that share it share the prompt, and of one seed the noise,
# but where a policy chose among samples.
Pair = tuple[str, int]


@dataclass(frozen=True)
class Score:
    """One of the numbers that a scorer gives a picture."""

    name: str = "score"
    higher_is_better: bool = True


@dataclass(frozen=True)
class ExtractorInfo:
    """What decides features, apart from the pictures."""

    name: str  # demo_clip, clip, dinov2, inception_v3 or pixels, or what a plug-in or command says; without a dot
    weights: str  # "sha256:..." of the weights file or files that were loaded; "none" for pixels
    resize: str  # how pictures reach the network's size: tf1, torch, torch-aa, clean, or the words of its processor
    dimension: int  # floats in a picture's features
    is_scorer: bool = False  # each feature says how good the picture is
    code: str = ""  # "sha256:..." of what else a plug-in or a command is made of, such as its modules' code
    scores: tuple[Score, ...] = ()  # of a scorer: one a feature; empty: a single one called score
    columns: tuple[str, ...] = ()  # of the prompt's row, that a scorer reads
    reads_captions: bool = False  # puts captions into the pictures' space, or scores how a picture fits its prompt
    alias: str = ""  # what its figures are called by in place of its name
    num_frames: int = 0  # evenly spaced ones of each video that it is given, (F, H, W, 3); 0: it is given pictures

    @property
    def called(self) -> str:
        """What its figures' names begin with."""
        return self.alias or self.name

    @property
    def scores_fit(self) -> bool:
        """It is a scorer of more than the picture: of its prompt, or of columns of the prompt's row."""
        return self.is_scorer and (self.reads_captions or bool(self.columns))

    @property
    def named_scores(self) -> tuple[Score, ...]:
        """None of what is no scorer."""
        return (self.scores or (Score(),)) if self.is_scorer else ()

    @property
    def extractor_id(self) -> str:
        """16 hex digits: features with the same id may be compared with each other, whatever they are called."""
        code = [self.code] if self.code else []
        return digest("extractor", self.name, self.weights, self.resize, *code, length=16)


@dataclass(frozen=True, eq=False)
class ImageFeatures:
    """Features of N images by one extractor, and how well each fits its own prompt."""

    image_ids: tuple[str, ...]
    features: np.ndarray  # (N, dimension) float32, raw; of a scorer NaN where a score does not apply
    cosines: np.ndarray  # (N,) float32, picture and prompt; NaN by an extractor that reads no captions
    truncated: np.ndarray  # (N,) bool: the prompt was longer than the extractor reads

    def taken(self, rows: Sequence[int]) -> "ImageFeatures":
        """The images at these rows."""
        ids = tuple(self.image_ids[row] for row in rows)
        index = np.asarray(rows, np.int64)
        return ImageFeatures(ids, self.features[index], self.cosines[index], self.truncated[index])


def joined_images(parts: Sequence[ImageFeatures]) -> ImageFeatures:
    """One after another; at least one part."""
    return ImageFeatures(
        tuple(image_id for part in parts for image_id in part.image_ids),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.cosines for part in parts]),
        np.concatenate([part.truncated for part in parts]),
    )


@dataclass(frozen=True, eq=False)
class ShardFeatures:
    """What an extractor made of a shard's image files, image by image: features, or why there are none."""

    images: ImageFeatures  # NaN where an image has none
    sha256s: tuple[str, ...]  # of each file that was read; "" for one that was missing
    errors: tuple[str, ...]  # "" where there are features

    @property
    def image_ids(self) -> tuple[str, ...]:
        return self.images.image_ids

    @cached_property
    def _places(self) -> dict[str, int]:
        return {image_id: place for place, image_id in enumerate(self.image_ids)}

    def place(self, image_id: str, sha256: str | None) -> int | None:
        """The row of an image whose file has this digest; None where that file was not read, or is to be read again."""
        place = self._places.get(image_id)
        is_known = place is not None and self.sha256s[place] == sha256 and not self.errors[place].startswith(_TRY_AGAIN)
        return place if is_known else None

    def error(self, image_id: str, sha256: str | None, store: StoreSpec) -> str | None:
        """Why an image whose record has this digest has no features, and the remedy where another file lay there."""
        place = self._places.get(image_id)
        if place is None or not self.errors[place]:
            return None
        if self.sha256s[place] == sha256:
            return self.errors[place]
        return f"{self.errors[place]}; `{on_run('repair', store)}` brings it back, then evaluate again"

    def of(self, image_ids: Iterable[str]) -> "ShardFeatures":
        """These images in this order; those that were not read are left out."""
        return self.taken([self._places[image_id] for image_id in image_ids if image_id in self._places])

    def taken(self, rows: Sequence[int]) -> "ShardFeatures":
        """The images at these rows."""
        return ShardFeatures(
            self.images.taken(rows), tuple(self.sha256s[row] for row in rows), tuple(self.errors[row] for row in rows)
        )


def joined_features(parts: Sequence[ShardFeatures]) -> ShardFeatures:
    """One after another; at least one part."""
    return ShardFeatures(
        joined_images([part.images for part in parts]),
        tuple(sha256 for part in parts for sha256 in part.sha256s),
        tuple(error for part in parts for error in part.errors),
    )


def put_features(store: Store, extractor_id: str, shard: Shard, features: ShardFeatures) -> None:
    """Write a shard's features, over older ones: they are a function of the images, so either is right."""
    store.put(features_key(extractor_id, shard), to_bytes(features))


def get_features(store: Store, extractor_id: str, shard: Shard) -> ShardFeatures | None:
    """A shard's features; None where there are none, or where what is there cannot be read."""
    try:
        return from_bytes(store.get(features_key(extractor_id, shard)))
    except (NotFound, ValueError):
        return None


def shards_with_features(store: Store, extractor_id: str, shard_size: int) -> ShardSet:
    """Of a run: those of which features are stored, from a listing alone."""
    found = (parse_features_key(extractor_id, info.key) for info in store.list(features_prefix(extractor_id)))
    return ShardSet(shard_size, filter(None, found))


def to_bytes(shard_features: ShardFeatures) -> bytes:
    images = shard_features.images
    count, dimension = images.features.shape
    flat = pa.array(np.ascontiguousarray(images.features, np.float32).reshape(count * dimension))
    table = pa.table(
        {
            "image_id": pa.array(images.image_ids, pa.string()),
            "sha256": pa.array(shard_features.sha256s, pa.string()),
            "error": pa.array(shard_features.errors, pa.string()),
            "features": pa.FixedSizeListArray.from_arrays(flat, dimension),
            "cosine": pa.array(np.asarray(images.cosines, np.float32), from_pandas=True),
            "truncated": pa.array(images.truncated, pa.bool_()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def from_bytes(data: bytes) -> ShardFeatures:
    """Raises ValueError for what is damaged, is something else, or was written before rows had digests."""
    try:
        return _parsed(pq.read_table(io.BytesIO(data), page_checksum_verification=True).combine_chunks())
    except (pa.ArrowException, OSError, LookupError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not readable as features ({first_line(error)})") from error


def _parsed(table: pa.Table) -> ShardFeatures:
    column = table["features"]
    values = column.chunk(0).flatten().to_numpy() if column.num_chunks else np.empty(0, np.float32)
    images = ImageFeatures(
        tuple(table["image_id"].to_pylist()),
        values.reshape(len(table), column.type.list_size),
        table["cosine"].to_numpy().astype(np.float32),
        np.asarray(table["truncated"].to_pylist(), bool),
    )
    return ShardFeatures(images, tuple(table["sha256"].to_pylist()), tuple(table["error"].to_pylist()))


# With their images' records -------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class PairedFeatures:
    """Features of N images, each with the pair that it belongs to."""

    pairs: tuple[Pair, ...]
    images: ImageFeatures
    left_out: Counter[str] = field(default_factory=Counter)  # why images have no features -> how many
    seeds: tuple[int, ...] = ()  # of each image's noise; empty: not known
    texts: tuple[str, ...] = ()  # of each image's prompt; empty: not known

    @property
    def prompts(self) -> tuple[str, ...]:
        """What is equal for images of one prompt: its text, since a file may hold it under several ids."""
        return self.texts or tuple(prompt_id for prompt_id, _ in self.pairs)

    def taken(self, rows: Sequence[int]) -> "PairedFeatures":
        """The images at these rows."""
        pairs = tuple(self.pairs[row] for row in rows)
        seeds = tuple(self.seeds[row] for row in rows) if self.seeds else ()
        texts = tuple(self.texts[row] for row in rows) if self.texts else ()
        return PairedFeatures(pairs, self.images.taken(rows), seeds=seeds, texts=texts)


def joined_pairs(parts: Sequence[PairedFeatures]) -> PairedFeatures:
    """One after another; at least one part."""
    return PairedFeatures(
        tuple(pair for part in parts for pair in part.pairs),
        joined_images([part.images for part in parts]),
        sum((part.left_out for part in parts), Counter()),
        tuple(seed for part in parts for seed in part.seeds),
        tuple(text for part in parts for text in part.texts),
    )


_PAIRED = ("image_id", "prompt", "prompt_id", "row", "seed", "status", "sha256")


class FeaturesMissing(DarkroomError):
    """Images are there, and their features are not."""


def paired_features(
    store: Store, shards: Iterable[Committed], extractor_id: str, dimension: int | None = None
) -> Iterator[PairedFeatures]:
    """Shard by shard, the features by one extractor of exactly the files that records name.

    Raises FeaturesMissing where the extractor has not seen one of them, and DarkroomError where there is no image.
    """
    is_empty = True
    for part in paired_parts(store, shards, extractor_id, dimension):
        is_empty = is_empty and not part.pairs and not part.left_out
        yield part
    if is_empty:
        raise no_image(store)


def paired_parts(
    store: Store, shards: Iterable[Committed], extractor_id: str, dimension: int | None = None
) -> Iterator[PairedFeatures]:
    """The same of a part of a run's shards, which may well hold no image."""
    tables = read_each(store, shards, _PAIRED)
    return prefetched(tables, lambda item: _of_shard(store, *item, extractor_id, dimension))


def no_image(store: Store) -> DarkroomError:
    return DarkroomError(f"{store.describe()}: no image is there; go on with the command that started the run")


def _of_shard(store: Store, shard: Shard, table: pa.Table, extractor_id: str, dimension: int | None) -> PairedFeatures:
    """In the order of records; features of an image that no record names any more are left out."""
    places, ok = Counter[int](), []  # a row is whole in its shard, with its images in order
    for record in table.to_pylist():
        if record["status"] == OK:
            ok.append(record | {"place": places[record["row"]]})
        places[record["row"]] += 1
    found = get_features(store, extractor_id, shard)
    if found is None or dimension not in (None, found.images.features.shape[1]):
        raise _missing(store, shard)
    pairs, rows, seeds, texts, left_out = [], [], [], [], Counter[str]()
    for record in ok:
        error = found.error(record["image_id"], record["sha256"], store.spec)
        place = found.place(record["image_id"], record["sha256"])
        if error:
            left_out[error] += 1
        elif place is None:
            raise _missing(store, shard)
        else:
            pairs.append((record["prompt_id"], record["place"]))
            rows.append(place)
            seeds.append(record["seed"])
            texts.append(record["prompt"])
    return PairedFeatures(tuple(pairs), found.images.taken(rows), left_out, tuple(seeds), tuple(texts))


def _missing(store: Store, shard: Shard) -> FeaturesMissing:
    return FeaturesMissing(
        f"{store.describe(manifest_key(shard))}: not all of its images have features; run "
        f"`{on_run('evaluate', store.spec)}`"
    )
