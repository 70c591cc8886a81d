"""A cell's scored images, shard by shard, each with the pair that it belongs to. Knows no extractor."""

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.errors import DarkroomError
from pipeline.domain.records import OK
from pipeline.runs import manifest
from pipeline.runs.features import ImageFeatures, get_features, joined
from pipeline.runs.keys import ManifestName
from pipeline.storage.store import Store

Pair = tuple[str, int]  # prompt_id and sample_index: images of two cells that share it share prompt and noise


class NotScored(DarkroomError):
    """Images are there, and their features are not."""


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Features of N images, and what each is an image of."""

    pairs: tuple[Pair, ...]
    images: ImageFeatures

    def taken(self, rows: Sequence[int]) -> "ScoredImages":
        """The images at these rows."""
        return ScoredImages(tuple(self.pairs[row] for row in rows), self.images.taken(rows))


def together(parts: Sequence[ScoredImages]) -> ScoredImages:
    """One after another; at least one part."""
    return ScoredImages(tuple(pair for part in parts for pair in part.pairs), joined([part.images for part in parts]))


def scored_parts(
    store: Store, cell_id: str, extractor_id: str, starts: Container[int] | None = None
) -> Iterator[ScoredImages]:
    """A cell's images that are there, by one extractor; with `starts`, of the shards that start at these rows.

    Raises NotScored where one has no features, and DarkroomError where there is none.
    """
    is_empty = True
    for name in manifest.committed(store, cell_id):
        if starts is None or name.start in starts:
            part = _scored_shard(store, name, extractor_id)
            is_empty = is_empty and not part.pairs
            yield part
    if is_empty:
        raise DarkroomError(
            f"{store.describe()}: no image of cell {cell_id} is there; go on with the command that started the run"
        )


def _scored_shard(store: Store, name: ManifestName, extractor_id: str) -> ScoredImages:
    """In the order of records; features of an image that no record names any more are left out."""
    table = manifest.read(store, name, ["image_id", "prompt_id", "sample_index", "status"])
    ok = [row for row in table.to_pylist() if row["status"] == OK]
    features = get_features(store, extractor_id, name)
    places = {image_id: place for place, image_id in enumerate(features.image_ids)} if features else {}
    if features is None or any(row["image_id"] not in places for row in ok):
        raise NotScored(
            f"{store.describe(name.key)}: not all of its images are scored; "
            f"run `darkroom evaluate run={store.spec.uri}`"
        )
    pairs = tuple((row["prompt_id"], row["sample_index"]) for row in ok)
    return ScoredImages(pairs, features.taken([places[row["image_id"]] for row in ok]))
