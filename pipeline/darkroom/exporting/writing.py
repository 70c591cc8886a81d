"""One export: what it is of, claimed before anything is written; its shards; then its card and the sums of all files.

The folder is of one request on one set of images: `export.json` says which, and another one is refused by name. The
same command goes on where it was cut off, and ends in the same bytes.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.exporting.selection import Counts, Selection, SplitCount
from darkroom.exporting.shards import ExportedFile, Format, write_shard
from darkroom.runs.files import to_json
from darkroom.storage.store import NotFound, Store, StoreError, StoreSpec, prefetched

EXPORT_KEY, CARD_KEY, SUMS_KEY = "export.json", "README.md", "SHA256SUMS"
SHARD_BYTES = 256 << 20  # of images in a shard, where its size is not given; it is made in memory
MOST_BYTES = 1 << 30  # of one that is given
FOLDER_IMAGES = 10_000  # of one folder: the hub takes no more
_AT_ONCE = 2  # shards that are made at once


def shard_sizes(layout: str, count: SplitCount, shard_size: int | None) -> list[int]:
    """Images in each shard of a split: equal, but for one. Raises DarkroomError where one is too large to be made."""
    most = shard_size or FOLDER_IMAGES
    if layout != "imagefolder":
        mean = max(1, count.num_bytes // count.num_images)
        most = shard_size or max(1, SHARD_BYTES // mean)
        if min(most, count.num_images) * mean > MOST_BYTES:
            raise DarkroomError(
                f"shard_size={most}: shards of {most * mean / 1e9:.1f} GB, and each is made in memory; give at most "
                f"{MOST_BYTES // mean}, or auto"
            )
    num_shards = -(-count.num_images // most)
    size, rest = divmod(count.num_images, num_shards)
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
    if _claimed(to) is None and (first := next(to.list(), None)):
        raise DarkroomError(
            f"to={to.spec.uri}: {first.key} lies there, and no {EXPORT_KEY} that says it is an export; give a new or "
            "an empty folder"
        )


def claim(to: Store, wanted: Mapping[str, Any]) -> None:
    """Say what the folder is of. Raises DarkroomError where it is of something else."""
    data = to_json(wanted)
    try:
        is_first = to.put_if_absent(EXPORT_KEY, data, "application/json")
    except StoreError:
        raise
    except OSError as error:
        raise DarkroomError(
            f"to={to.spec.uri}: cannot be written ({error.strerror}); make it writable, or name another folder"
        ) from error
    if is_first or (before := _claimed(to)) == data:
        return
    try:
        found = json.loads(before or b"")
        name = next(name for name in wanted if found.get(name) != wanted[name])
    except (ValueError, AttributeError, StopIteration):
        raise DarkroomError(
            f"{to.describe(EXPORT_KEY)}: not readable as an export's; remove the folder, or give another one"
        ) from None
    raise DarkroomError(
        f"{to.describe(EXPORT_KEY)}: {name} is {_shown(found.get(name))} in the export that is there, and "
        f"{_shown(wanted[name])} in this one; give another folder, or the same words on the same images"
    )


def _claimed(to: Store) -> bytes | None:
    try:
        return to.get(EXPORT_KEY)
    except NotFound:
        return None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."


# Its files -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardWritten:
    """One more is there; or was there, and is what it should be."""

    num_done: int
    num_shards: int
    was_there: bool


def write_shards(
    selection: Selection,
    counts: Counts,
    to: Store,
    form: Format,
    sizes: Mapping[str, Sequence[int]],
    told: Callable[[ShardWritten], None],
) -> list[ExportedFile]:
    """All shards, in the memory of a few; their files."""
    keys = {
        form.key(split, number, len(own)): (split, number) for split, own in sizes.items() for number in range(len(own))
    }
    there = {keys[info.key] for info in to.list() if info.key in keys}
    found: list[ExportedFile] = []
    shards = selection.shards(sizes, counts)

    def write(rows: Any) -> tuple[bool, list[ExportedFile]]:
        is_there = (rows.split, rows.number) in there
        return is_there, write_shard(selection.store, to, form, rows, is_there)

    for number, (was_there, files) in enumerate(prefetched(shards, write, _AT_ONCE, waits=True), 1):
        found += files
        told(ShardWritten(number, len(keys), was_there))
    return found


def sums(files: Iterable[ExportedFile]) -> bytes:
    """As `sha256sum --check` reads them."""
    return "".join(f"{file.sha256}  {file.key}\n" for file in sorted(files, key=lambda file: file.key)).encode()
