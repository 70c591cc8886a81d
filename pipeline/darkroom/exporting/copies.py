"""Images of a dataset that are copies of others in it: of equal pixels, or as near as that by an extractor's features.

The first image in order is kept, so that equal input leaves the same images out. In memory are a few hundred bytes
an image; features lie in a temporary file.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import IO, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.errors import DarkroomError
from darkroom.exporting.selection import FEATURES, Selection

Rows = np.ndarray[Any, np.dtype[Any]]
ID, PIXELS, EMBEDDING = "id", "pixels", "embedding"  # why an image is a copy
_ROUNDING = 1e-6  # of a cosine of float32: that of equal images may be a little less than 1
_TILE_ROWS = 4096  # of images that are kept, compared at once
_SCHEMA = pa.schema([("image_id", pa.string()), ("copy_of", pa.string()), ("why", pa.string()),
                     ("cosine", pa.float64()), ("run", pa.int64()), ("copy_of_run", pa.int64())])  # fmt: skip


@dataclass(frozen=True, eq=False)
class Copies:
    """Which images are left out, and of which they are copies."""

    table: pa.Table = field(default_factory=_SCHEMA.empty_table)  # runs by their places
    num_unknown: int = 0  # images that could not be compared, and are kept

    @property
    def counts(self) -> Mapping[str, int]:
        return Counter(self.table["why"].to_pylist())

    def __add__(self, other: "Copies") -> "Copies":
        return Copies(pa.concat_tables([self.table, other.table]), self.num_unknown + other.num_unknown)

    def without(self, place: int, table: pa.Table) -> pa.Table:
        """Records of a run, without those of copies."""
        ids = self._ids.get(place)
        return table if ids is None else table.filter(pc.invert(pc.is_in(table["image_id"], value_set=ids)))

    @cached_property
    def _ids(self) -> dict[int, pa.Array]:
        places = self.table["run"].unique().to_pylist()
        found = {place: self.table.filter(pc.equal(self.table["run"], place)) for place in places}
        return {place: rows["image_id"].combine_chunks() for place, rows in found.items()}

    def named(self, names: Sequence[str]) -> pa.Table:
        """For people: with the names of runs, where there are several."""
        if len(names) == 1:
            return self.table.drop_columns(["run", "copy_of_run"])
        table = self.table
        for column in ("run", "copy_of_run"):
            called = pa.array([names[place] for place in table[column].to_pylist()], pa.string())
            table = table.set_column(table.column_names.index(column), column, called)
        return table


# Of equal ids and pixels ---------------------------------------------------------------------------------------------


def by_id(runs: Sequence[Selection]) -> Copies:
    """Images that are in two runs by one id: only runs that share a cell can have such."""
    cells = Counter(cell_id for run in runs for cell_id in run.cells)
    shared = pa.array([cell_id for cell_id, count in cells.items() if count > 1], pa.string())
    if not len(shared):
        return Copies()
    walked = _walk(runs, ["cell_id"])
    images = _Images([(place, table.filter(pc.is_in(table["cell_id"], value_set=shared))) for place, table in walked])
    return images.copies("image_id", ID)


def check_ids(runs: Sequence[Selection]) -> None:
    """Raises DarkroomError for an image that is in two runs by one id."""
    for row in by_id(runs).table.slice(0, 1).to_pylist():
        first, second = (runs[row[name]].name for name in ("copy_of_run", "run"))
        raise DarkroomError(
            f"others: image {row['image_id']} is in {first} and in {second}, of one cell and one prompt; dedup=pixels "
            "keeps the first of such images"
        )


def by_pixels(runs: Sequence[Selection]) -> Copies:
    """Images whose records name equal pixels of their files, and those of one id."""
    known = by_id(runs)
    walked = _walk(runs, ["stored_pixels_sha256", "pixels_sha256"])
    found = [(place, known.without(place, _as_stored(table))) for place, table in walked]
    return known + _Images(found).copies("pixels_sha256", PIXELS)


def _as_stored(table: pa.Table) -> pa.Table:
    """With the pixels of files, where these are not those as rendered, since a text or a watermark is in them."""
    pixels = pc.coalesce(table["stored_pixels_sha256"], table["pixels_sha256"])
    return table.select(["image_id"]).append_column("pixels_sha256", pixels)


def _walk(runs: Sequence[Selection], columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    for place, run in enumerate(runs):
        for table in run.blocks(columns):
            yield place, table.select(["image_id", *columns])


class _Images:
    """All images in order, as columns."""

    def __init__(self, tables: Sequence[tuple[int, pa.Table]]) -> None:
        self._table = pa.concat_tables([table for _, table in tables]) if tables else None
        self._runs = np.repeat([place for place, _ in tables], [len(table) for _, table in tables])

    def copies(self, column: str, why: str) -> Copies:
        """Images whose value is that of an earlier one; null is equal to nothing."""
        if self._table is None:
            return Copies()
        encoded = self._table[column].dictionary_encode()  # one dictionary for all chunks
        codes = pa.chunked_array([chunk.indices for chunk in encoded.chunks], pa.int32()).fill_null(-1).to_numpy()
        _, first, inverse = np.unique(codes, return_index=True, return_inverse=True)
        originals = first[inverse]
        places = np.flatnonzero((codes >= 0) & (originals != np.arange(len(codes))))
        originals, ids = originals[places], self._table["image_id"]
        values = [
            ids.take(pa.array(places)),
            ids.take(pa.array(originals)),
            [why] * len(places),
            [1.0] * len(places),
            self._runs[places],
            self._runs[originals],
        ]
        table = pa.table([_column(*each) for each in zip(values, _SCHEMA, strict=True)], schema=_SCHEMA)
        return Copies(table, int((codes < 0).sum()))


def _column(values: object, field: pa.Field) -> pa.ChunkedArray:
    return values if isinstance(values, pa.ChunkedArray) else pa.chunked_array([pa.array(values, field.type)])


# As near as copies ---------------------------------------------------------------------------------------------------


def by_embedding(runs: Sequence[Selection], extractor_id: str, cosine: float) -> Copies:
    """Images whose features have at least this cosine with those of an image that is kept, and those of one id.

    O(n k d) time for n images of which k are kept.
    """
    known = by_id(runs)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryFile(prefix="darkroom-") as file:
        kept = _Kept(file, cosine)
        for place, run in enumerate(runs):
            for table in run.blocks([], extractor_id=extractor_id):
                fresh = known.without(place, table)
                rows += kept.add(place, fresh) if len(fresh) else []
    return known + Copies(pa.Table.from_pylist(rows, schema=_SCHEMA), kept.num_unknown)


class _Kept:
    """Images that are copies of none before them; their features, of unit length, lie in a file."""

    def __init__(self, file: IO[bytes], cosine: float) -> None:
        self._file = file
        self._least = cosine - _ROUNDING
        self._names: list[tuple[int, str]] = []  # place of the run, image_id
        self.num_unknown = 0  # images that have no features

    def add(self, place: int, table: pa.Table) -> list[dict[str, object]]:
        """The copies among a block of images; the others are kept. Who has no features is a copy of none."""
        unit = _unit_rows(table[FEATURES])
        self.num_unknown += int((~unit.any(axis=1)).sum())
        cosines, places = self._nearest(unit)
        between, num_before = unit @ unit.T, len(self._names)
        found: list[dict[str, object]] = []
        fresh: list[int] = []
        for row, image_id in enumerate(table["image_id"].to_pylist()):
            cosine, of = cosines[row], places[row]
            if fresh and (own := between[row, fresh]).max() > cosine:
                cosine, of = own.max(), num_before + own.argmax()
            if cosine < self._least:
                fresh.append(row)
                self._names.append((place, image_id))
            else:
                run, original = self._names[of]
                found.append({"image_id": image_id, "copy_of": original, "why": EMBEDDING,
                              "cosine": min(float(cosine), 1.0), "run": place, "copy_of_run": run})  # fmt: skip
        self._file.write(unit[fresh].tobytes())
        return found

    def _nearest(self, unit: Rows) -> tuple[Rows, Rows]:
        """(n,) greatest cosine with images that were kept before, and (n,) their places."""
        cosines, places = np.full(len(unit), -np.inf, np.float32), np.zeros(len(unit), np.int64)
        self._file.seek(0)
        for start in range(0, len(self._names), _TILE_ROWS):
            data = self._file.read(min(_TILE_ROWS, len(self._names) - start) * unit.shape[1] * unit.itemsize)
            products = unit @ np.frombuffer(data, np.float32).reshape(-1, unit.shape[1]).T
            best = products.argmax(axis=1)
            values = products[np.arange(len(best)), best]
            is_closer = values > cosines
            cosines[is_closer], places[is_closer] = values[is_closer], start + best[is_closer]
        return cosines, places


def _unit_rows(column: pa.ChunkedArray) -> Rows:
    """(n, d) float32 of length 1; zeros for what has no direction, or no features."""
    features = column.combine_chunks().flatten().to_numpy().reshape(len(column), -1).astype(np.float64)
    lengths = np.linalg.norm(np.nan_to_num(features), axis=1)
    scale = np.where(lengths > 0, lengths, 1)
    return np.asarray(np.nan_to_num(features) / scale[:, None], np.float32)
