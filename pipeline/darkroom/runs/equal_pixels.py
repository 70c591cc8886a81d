"""Cells whose images are the same pixels, all of them: a setting in which they differ does nothing.

Images are compared by the digests of their pixels, so files may differ in what is written in them. Cells that have
only some images in common are compared in these. One image that differs ends the comparison of two cells, so that to
tell apart what differs takes the first shards alone. In memory are one range of prompt rows of each cell, and the
pairs of cells that are equal so far.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby

from darkroom.domain.records import OK
from darkroom.runs.bulk import Groups, read_each
from darkroom.runs.cells import CellInfo, axes
from darkroom.runs.listing import Committed, committed_shards
from darkroom.runs.run import RunInfo
from darkroom.storage.store import Store

_COLUMNS = ("prompt_id", "sample_index", "status", "pixels_sha256")
_MOST_GROUPS, _MOST_CELLS, _MOST_VALUES = 10, 4, 6  # that lines name
_OTHERWISE = ("sampling.num_images_per_prompt", "sampling.fps")  # settings that act on something else than pixels
_Pixels = Mapping[tuple[str, int], str]  # prompt_id and sample_index -> digest


@dataclass(frozen=True)
class EqualCells:
    """Cells of which each has the same pixels as the first, in every image that they share."""

    cell_ids: tuple[str, ...]  # two or more
    num_images: int  # that the first shares with each other one


def equal_cells(store: Store, cell_ids: Collection[str]) -> list[EqualCells]:
    """In the order of cells. Images whose records do not say their pixels' digest are no evidence."""
    if len(cell_ids) < 2:
        return []
    found = (committed for committed in committed_shards(store) if committed.shard.cell_id in cell_ids)
    shards = sorted(found, key=lambda committed: committed.shard.start)
    rendered = {committed.shard.cell_id for committed in shards}
    shared = dict.fromkeys(combinations([cell_id for cell_id in cell_ids if cell_id in rendered], 2), 0)
    groups = Groups(_COLUMNS)
    for _, group in groupby(shards, key=lambda committed: committed.shard.start):
        in_pairs = {cell_id for pair in shared for cell_id in pair}
        of_pairs = [committed for committed in group if committed.shard.cell_id in in_pairs]
        _compare(shared, _pixels(store, of_pairs, groups))
    return _groups({pair: count for pair, count in shared.items() if count})


def _pixels(store: Store, shards: Sequence[Committed], groups: Groups) -> dict[str, _Pixels]:
    """cell_id -> its images of one range of rows; equal ones are one object, which makes comparing them quick."""
    known: dict[tuple[object, ...], _Pixels] = {}
    found: dict[str, _Pixels] = {}
    for shard, table in read_each(store, shards, _COLUMNS, groups):
        columns = (table[column].to_pylist() for column in _COLUMNS)
        images = {
            (prompt_id, index): digest
            for prompt_id, index, status, digest in zip(*columns, strict=True)
            if status == OK and digest is not None
        }
        found[shard.cell_id] = known.setdefault(tuple(images.items()), images)
    return found


def _compare(shared: dict[tuple[str, str], int], pixels: Mapping[str, _Pixels]) -> None:
    """Count what pairs of cells have in common; forget the pairs that differ in any of it."""
    for pair in list(shared):
        if pair[0] in pixels and pair[1] in pixels:
            first, second = pixels[pair[0]], pixels[pair[1]]
            both = first.keys() & second.keys() if first is not second else first.keys()
            if first is not second and any(first[key] != second[key] for key in both):
                del shared[pair]
            else:
                shared[pair] += len(both)


def _groups(shared: Mapping[tuple[str, str], int]) -> list[EqualCells]:
    """Each cell is in one group: that of the first cell that it equals."""
    grouped: set[str] = set()
    others: dict[tuple[str, int], list[str]] = {}
    for (first, second), count in shared.items():
        if first not in grouped and second not in grouped:
            others.setdefault((first, count), []).append(second)
            grouped.add(second)
    return [EqualCells((first, *group), count) for (first, count), group in others.items()]


def equal_lines(store: Store, cells: Mapping[str, CellInfo], run: RunInfo) -> Iterator[str]:
    """What people read of a run's cells that are equal, though a setting should tell their images apart."""
    found = [group for group in equal_cells(store, cells) if _idle(group, cells, run)]
    for group in found[:_MOST_GROUPS]:
        said = "; ".join(
            f"{name.split('.')[1]} ({_cut(values, _MOST_VALUES)}) does nothing here"
            for name, values in _idle(group, cells, run).items()
        )
        yield (
            f"cells {_cut(group.cell_ids, _MOST_CELLS)} have equal pixels in all {group.num_images:,} images that they "
            f"share: {said}"
        )
    if len(found) > _MOST_GROUPS:
        yield f"so have {len(found) - _MOST_GROUPS} more groups of cells"


def _idle(group: EqualCells, cells: Mapping[str, CellInfo], run: RunInfo) -> dict[str, list[object]]:
    """Settings that do nothing in these cells; more images of a prompt leave the first ones as they are, and frames a
    second say how pixels are shown."""
    found = axes((cells[cell_id] for cell_id in group.cell_ids), run)
    return {name: values for name, values in found.items() if name not in _OTHERWISE}


def _cut(values: Sequence[object], most: int) -> str:
    more = f" and {len(values) - most} more" if len(values) > most else ""
    return ", ".join(str(value) for value in values[:most]) + more
