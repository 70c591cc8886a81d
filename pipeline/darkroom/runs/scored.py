"""A cell's scored images, shard by shard, each with the pair that it belongs to. Knows no extractor."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import OK
from darkroom.runs import manifest
from darkroom.runs.commands import on_run
from darkroom.runs.features import ImageFeatures, get_features, joined
from darkroom.runs.keys import ManifestName
from darkroom.storage.store import Store

Pair = tuple[str, int]  # prompt_id and sample_index: images that share it share the prompt, and of one seed the noise


class NotScored(DarkroomError):
    """Images are there, and their features are not."""


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """Features of N images, and what each is an image of."""

    pairs: tuple[Pair, ...]
    images: ImageFeatures
    left_out: Counter[str] = field(default_factory=Counter)  # why images have no features -> how many
    seeds: tuple[int, ...] = ()  # of each image's noise; empty: not known

    def taken(self, rows: Sequence[int]) -> "ScoredImages":
        """The images at these rows."""
        seeds = tuple(self.seeds[row] for row in rows) if self.seeds else ()
        return ScoredImages(tuple(self.pairs[row] for row in rows), self.images.taken(rows), seeds=seeds)


def together(parts: Sequence[ScoredImages]) -> ScoredImages:
    """One after another; at least one part."""
    return ScoredImages(
        tuple(pair for part in parts for pair in part.pairs),
        joined([part.images for part in parts]),
        sum((part.left_out for part in parts), Counter()),
        tuple(seed for part in parts for seed in part.seeds),
    )


def scored_parts(
    store: Store, names: Iterable[ManifestName], extractor: str, dimension: int | None = None
) -> Iterator[ScoredImages]:
    """The images of some shards by one extractor (its extractor_id), features of exactly the files that records name.

    Raises NotScored where one was not looked at, and DarkroomError where there is none.
    """
    is_empty = True
    for name in names:
        part = _scored_shard(store, name, extractor, dimension)
        is_empty = is_empty and not part.pairs and not part.left_out
        yield part
    if is_empty:
        raise DarkroomError(f"{store.describe()}: no image is there; go on with the command that started the run")


def _scored_shard(store: Store, name: ManifestName, extractor_id: str, dimension: int | None) -> ScoredImages:
    """In the order of records; features of an image that no record names any more are left out."""
    table = manifest.read(store, name, ["image_id", "prompt_id", "sample_index", "seed", "status", "sha256"])
    ok = [row for row in table.to_pylist() if row["status"] == OK]
    found = get_features(store, extractor_id, name)
    if found is None or dimension not in (None, found.images.features.shape[1]):
        raise _not_scored(store, name)
    pairs, rows, seeds, left_out = [], [], [], Counter[str]()
    for record in ok:
        error = found.error(record["image_id"], record["sha256"], store.spec)
        place = found.place(record["image_id"], record["sha256"])
        if error:
            left_out[error] += 1
        elif place is None:
            raise _not_scored(store, name)
        else:
            pairs.append((record["prompt_id"], record["sample_index"]))
            rows.append(place)
            seeds.append(record["seed"])
    return ScoredImages(tuple(pairs), found.images.taken(rows), left_out, tuple(seeds))


def _not_scored(store: Store, name: ManifestName) -> NotScored:
    return NotScored(
        f"{store.describe(name.key)}: not all of its images are scored; run `{on_run('evaluate', store.spec)}`"
    )
