"""One export: what it is of, claimed before anything is written; its shards; then its card and the sums of all files.

The folder is of one request on one set of images: `export.json` says which, and another one is refused by name. The
same command goes on where it was cut off, and ends in the same bytes.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.exporting.dataset import Counts, Dataset, ShardRows, SplitCount
from darkroom.exporting.recoding import Source
from darkroom.exporting.shards import ExportedFile, Format, write_shard
from darkroom.runs.encoding import sha256_of
from darkroom.runs.files import to_json
from darkroom.storage.claims import Claim
from darkroom.storage.store import Store, StoreSpec, prefetched

EXPORT_KEY, CARD_KEY, SUMS_KEY = "export.json", "README.md", "SHA256SUMS"
CROISSANT_KEY, COPIES_KEY = "croissant.json", "duplicates.parquet"
SHARD_BYTES = 256 << 20  # of images in a shard, where its size is not given; it is made in memory
MOST_BYTES = 1 << 30  # of one that is given
FOLDER_IMAGES = 10_000  # of one folder: the hub takes no more
_AT_ONCE = 2  # shards that are made at once
_CLAIM = Claim(EXPORT_KEY, "an export", "the same words on the same images")


def shard_sizes(layout: str, counted: SplitCount, shard_size: int | None, scale: float = 1.0) -> list[int]:
    """Images in each shard of a split: equal, but for one. Raises DarkroomError where one is too large to be made.

    `scale`: by how much files are larger than those of the run.
    """
    most = shard_size or FOLDER_IMAGES
    if layout != "imagefolder":
        mean = max(1, int(scale * counted.num_bytes / counted.num_images))
        most = shard_size or max(1, SHARD_BYTES // mean)
        if min(most, counted.num_images) * mean > MOST_BYTES:
            raise DarkroomError(
                f"shard_size={most}: shards of {most * mean / 1e9:.1f} GB, and each is made in memory; give at most "
                f"{MOST_BYTES // mean}, or auto"
            )
    num_shards = -(-counted.num_images // most)
    size, rest = divmod(counted.num_images, num_shards)
    return [size + (number < rest) for number in range(num_shards)]


# The folder ----------------------------------------------------------------------------------------------------------


def check_apart(run: StoreSpec, to: StoreSpec) -> None:
    """Raises DarkroomError where one lies in the other."""
    if f"{to.uri}/".startswith(f"{run.uri}/"):
        raise DarkroomError(f"to={to.uri}: lies in the run {run.uri}; give a folder outside of it")
    if f"{run.uri}/".startswith(f"{to.uri}/"):
        raise DarkroomError(f"to={to.uri}: the run {run.uri} lies in it; give a folder of its own")


def check_free(to: Store) -> None:
    """Raises DarkroomError for a folder that holds something else than an export."""
    _CLAIM.check_free(to)


def claim(to: Store, wanted: Mapping[str, Any]) -> None:
    """Say what the folder is of. Raises DarkroomError where it is of something else."""
    _CLAIM.put(to, wanted, to_json(wanted))


# Its files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardWritten:
    """One more is there; or was there, and is what it should be."""

    num_done: int
    num_shards: int
    was_there: bool


@dataclass(frozen=True, eq=False)
class ShardWriter:
    """Writes shards of one export, in any process."""

    sources: Sequence[Source]  # one a run
    to: Store
    form: Format

    def write(self, rows: ShardRows, is_there: bool) -> list[ExportedFile]:
        return write_shard(self.sources, self.to, self.form, rows, is_there)


Done = Callable[[bool, list[ExportedFile]], None]  # of one shard: whether it was there, and its files
Write = Callable[[Iterator[tuple[ShardRows, bool]], Done], None]  # shards, and whether each is there


def in_threads(writer: ShardWriter, shards: Iterator[tuple[ShardRows, bool]], done: Done) -> None:
    """In the memory of a few shards."""

    def write(each: tuple[ShardRows, bool]) -> tuple[bool, list[ExportedFile]]:
        return each[1], writer.write(*each)

    for each in prefetched(shards, write, _AT_ONCE, waits=True):
        done(*each)


def write_shards(
    dataset: Dataset,
    counts: Counts,
    writer: ShardWriter,
    sizes: Mapping[str, Sequence[int]],
    write: Write,
    told: Callable[[ShardWritten], None],
) -> list[ExportedFile]:
    """All shards; their files."""
    form = writer.form
    keys = {
        form.key(split, number, len(own)): (split, number) for split, own in sizes.items() for number in range(len(own))
    }
    there = {keys[info.key] for info in writer.to.list() if info.key in keys}
    found: list[ExportedFile] = []
    numbers = count(1)

    def done(was_there: bool, files: list[ExportedFile]) -> None:
        found.extend(files)
        told(ShardWritten(next(numbers), len(keys), was_there))

    write(((rows, (rows.split, rows.number) in there) for rows in dataset.shards(sizes, counts)), done)
    return found


def put_file(to: Store, key: str, data: bytes, content_type: str) -> ExportedFile:
    """Over what an earlier command has put there."""
    to.put(key, data, content_type)
    return ExportedFile(key, sha256_of(data), len(data))


def sums(files: Iterable[ExportedFile]) -> bytes:
    """As `sha256sum --check` reads them."""
    return "".join(f"{file.sha256}  {file.key}\n" for file in sorted(files, key=lambda file: file.key)).encode()
