"""A numbered shard of a dataset as files: a WebDataset tar, a Parquet file, or a folder of images beside their list.

What is written is a function of the records and the images' bytes alone. Each image is held against its record's digest
as it is copied, or encoded anew. The file that a shard is known by is put last: where it is, the shard is whole.
"""

import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import RECORD_COLUMNS
from darkroom.exporting.column_types import in_json
from darkroom.exporting.dataset import RUN, ShardRows
from darkroom.exporting.recoding import FACTS, ExportedImage, Source, exported_images
from darkroom.exporting.selection import TEXT, score_column
from darkroom.runs.cells import CellInfo
from darkroom.runs.encoding import (
    CONTENT_TYPES,
    EXTENSIONS,
    SIDECAR,
    EncodedImage,
    index_tar,
    parquet_of_images,
    sha256_of,
    write_tar,
)
from darkroom.runs.manifest import RECORD_SCHEMA, to_records
from darkroom.runs.own_columns import free_name, json_rows
from darkroom.runs.signing import CONTENT_TYPE as SIDECAR_TYPE
from darkroom.storage.store import Store, prefetched

# Of a folder of images, by which `datasets` knows their other columns. In Parquet, whose columns have types: of lists
# as JSON it guesses these list by list, and refuses splits in one of which a column is empty.
LIST = "metadata.parquet"
# Of records: where an image lies in the run, how it formed, which machine made it, and what is the same for all that
# are exported.
_LEFT_OUT = frozenset({
    "key", "member", "offset", "shard_id", "status", "error", "attempt", "host", "device_id", "worker", "render_s",
    "encode_s", "policy_rejected",
    *(name for name in RECORD_COLUMNS if name.startswith(("trajectory_", "c2pa_"))),
})  # fmt: skip
_SEVERAL = "run"  # the column that says which of several runs an image is of
SIDECARS = pa.field("c2pa", pa.binary())  # the column of signed manifests; null for an image that has none
PARQUET = "application/vnd.apache.parquet"
_CALLED = {"image": "input_image"}  # of records' columns, those that have another name there
_OPENED = re.compile(r"(.*_)?file_names?")  # columns of LIST in which `datasets` takes texts for paths of images
_BATCH = 64  # images that are copied at once


@dataclass(frozen=True)
class ExportedFile:
    key: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, eq=False)
class Format:
    """How shards are named and written, and which columns they have."""

    layout: str  # webdataset, parquet or imagefolder
    image_format: str  # of the images in it
    has_splits: bool
    own: pa.Schema  # columns of the prompt files
    scores: Sequence[str]
    cells: Mapping[str, CellInfo]  # by cell_id
    runs: Sequence[str] = ()  # names of runs, where there are several
    has_sidecars: bool = False  # images of some run have signed manifests

    def key(self, split: str, number: int, num_shards: int) -> str:
        """Of the file that the shard is known by."""
        if self.layout == "webdataset":
            return f"{split}-{number:06d}.tar" if self.has_splits else f"{number:06d}.tar"
        if self.layout == "parquet":
            return f"data/{split}-{number:05d}-of-{num_shards:05d}.parquet"
        return f"{split}/{LIST}" if num_shards == 1 else f"{split}/{number:05d}/{LIST}"

    def file_name(self, image_id: str) -> str:
        return f"{image_id}.{EXTENSIONS[self.image_format]}"

    @property
    def sidecars(self) -> Sequence[pa.Field]:
        """The column of signed manifests, where it is one."""
        return [SIDECARS] if self.has_sidecars and self.layout == "parquet" else []

    @cached_property
    def schema(self) -> pa.Schema:
        """Of the columns as the layout has them, without the image's."""
        return pa.schema([in_json(field) for field in self.types]) if self.layout == "webdataset" else self.types

    @cached_property
    def types(self) -> pa.Schema:
        """Of the columns, before JSON takes times and numbers of some kinds for texts."""
        table = RECORD_SCHEMA.empty_table().append_column(RUN, pa.nulls(0, pa.int64()))
        for field in [*self.own, *(pa.field(score_column(name), pa.float64()) for name in self.scores)]:
            table = table.append_column(field, pa.nulls(0, field.type))
        return self.columns(table).schema

    def columns(self, table: pa.Table) -> pa.Table:
        """Of records: the prompt as `text`, then what says how the image was made, which run it is of, where there are
        several, the prompt files' own columns, scores, and the model's lossy settings, where a cell has some. A name
        that is taken gets `source_` before it, and one by which a folder's column is taken for files `_text` after
        it."""
        found = {TEXT: table["prompt"]}
        names = (name for name in RECORD_COLUMNS if name not in _LEFT_OUT and name != "prompt")
        shown = {_CALLED.get(name, name): name for name in names}
        found |= {called: table[name] for called, name in shown.items()}
        fields = {called: RECORD_SCHEMA.field(name) for called, name in shown.items()}
        lossy = {cell_id: info.cell.model.lossy for cell_id, info in self.cells.items()}
        if self.runs:
            found[_SEVERAL] = pa.array([self.runs[place] for place in table[RUN].to_pylist()], pa.string())
        for name in self.own.names:
            is_opened = self.layout == "imagefolder" and _OPENED.fullmatch(name)
            others = {*self.own.names} - {name}
            called = free_name(f"{name}_text" if is_opened else name, {*found, *self.scores, *others})
            fields[called] = self.own.field(name)
            found[called] = table[name]
        found |= {name: table[score_column(name)] for name in self.scores}
        for name in dict.fromkeys(name for values in lossy.values() for name in values):
            values = [lossy[cell_id].get(name) for cell_id in table["cell_id"].to_pylist()]
            found[free_name(name, found)] = pa.array(values, _type_of(lossy, name))
        known = [fields[name].with_name(name) if name in fields else pa.field(name, found[name].type) for name in found]
        return pa.Table.from_arrays(list(found.values()), schema=pa.schema(known))


def _type_of(lossy: Mapping[str, Mapping[str, Any]], name: str) -> pa.DataType:
    """One of all cells: a shard may hold those alone that do not have it."""
    return pa.array([values[name] for values in lossy.values() if name in values]).type


def write_shard(
    sources: Sequence[Source], to: Store, form: Format, rows: ShardRows, is_there: bool
) -> list[ExportedFile]:
    """Write a shard that is not there; one that is there is held against what would be written. Its files.

    Raises DarkroomError for an image that is not what was committed, and for a shard with other bytes.
    """
    key = form.key(rows.split, rows.number, rows.num_shards)
    if form.layout == "imagefolder":
        return _image_folder(sources, to, form, key, rows.table, is_there)
    container = _CONTAINERS[form.layout]
    before = to.get(key) if is_there else None
    images = _images(sources, rows.table, container.images(before) if before else {})
    columns = form.columns(_described(rows.table, {image.record.image_id: image.facts for image in images}))
    data = container.write(form, images, columns)
    if before is None:
        _put(to, key, data, container.content_type)
    elif data != before:
        raise _differs(to, key)
    return [ExportedFile(key, sha256_of(data), len(data))]


def _images(sources: Sequence[Source], table: pa.Table, there: Mapping[str, bytes]) -> list[ExportedImage]:
    """In order; `there`: files by image_id."""
    records = zip(table[RUN].to_pylist(), to_records(table.select(RECORD_SCHEMA.names)), strict=True)
    found: list[ExportedImage] = []
    for place, group in groupby(records, itemgetter(0)):
        found += exported_images(sources[place], [record for _, record in group], there)
    return found


def _described(table: pa.Table, facts: Mapping[str, Mapping[str, Any]]) -> pa.Table:
    """Records with what their images have of their own. `facts`: by image_id."""
    if not any(facts.values()):
        return table
    ids = table["image_id"].to_pylist()
    for name in FACTS:
        recorded = table[name].to_pylist()
        values = [facts[image_id].get(name, value) for image_id, value in zip(ids, recorded, strict=True)]
        field = RECORD_SCHEMA.field(name)
        table = table.set_column(table.column_names.index(name), field, pa.array(values, field.type))
    return table


def _image_folder(
    sources: Sequence[Source], to: Store, form: Format, key: str, table: pa.Table, is_there: bool
) -> list[ExportedFile]:
    folder = key.removesuffix(LIST)
    there = _digests(to, folder) if is_there else {}
    facts: dict[str, Mapping[str, Any]] = {image_id: {} for image_id in table["image_id"].to_pylist()}

    def copy(image: ExportedImage) -> None:
        _put(to, f"{folder}{form.file_name(image.record.image_id)}", image.data, CONTENT_TYPES[form.image_format])
        if image.sidecar is not None:
            _put(to, f"{folder}{image.record.image_id}{SIDECAR}", image.sidecar, SIDECAR_TYPE)

    missing = _missing(sources, form, folder, table, there)
    for start in range(0, len(missing), _BATCH):
        images = _images(sources, missing.slice(start, _BATCH), {})
        facts |= {image.record.image_id: image.facts for image in images}
        for _ in prefetched(images, copy, waits=True):
            pass
    columns = form.columns(_described(table, facts))
    names = [form.file_name(image_id) for image_id in facts]
    listed = _list_of(columns, names)
    if not is_there:
        _put(to, key, listed, PARQUET)
    elif to.get(key) != listed:
        raise _differs(to, key)
    files = zip(names, columns["sha256"].to_pylist(), columns["bytes"].to_pylist(), strict=True)
    return [
        *(ExportedFile(f"{folder}{name}", sha256, size) for name, sha256, size in files),
        *_sidecar_files(sources, folder, table),
        ExportedFile(key, sha256_of(listed), len(listed)),
    ]


def _list_of(columns: pa.Table, names: Sequence[str]) -> bytes:
    """The file LIST."""
    buffer = io.BytesIO()
    table = columns.add_column(0, "file_name", pa.array(names, pa.string())).combine_chunks()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _sidecar_files(sources: Sequence[Source], folder: str, table: pa.Table) -> list[ExportedFile]:
    """Signed manifests beside the images of a folder."""
    names = (RUN, "image_id", "c2pa_sha256", "c2pa_bytes")
    rows = zip(*(table[name].to_pylist() for name in names), strict=True)
    return [
        ExportedFile(f"{folder}{image_id}{SIDECAR}", sha256, size)
        for place, image_id, sha256, size in rows
        if sources[place].has_sidecars
    ]


def _digests(to: Store, folder: str) -> dict[str, str]:
    """SHA-256 of what lies in a folder, by key."""
    keys = [info.key for info in to.list(folder)]
    return dict(zip(keys, prefetched(keys, lambda key: sha256_of(to.get(key))), strict=True))


def _missing(
    sources: Sequence[Source], form: Format, folder: str, table: pa.Table, there: Mapping[str, str]
) -> pa.Table:
    """Records whose files are to be made: of images that are not there, or are others, and all that are encoded anew,
    since what they become is not known before. `there`: SHA-256 by key."""
    rows = zip(table[RUN].to_pylist(), table["image_id"].to_pylist(), table["sha256"].to_pylist(), strict=True)
    sidecars = {file.key for file in _sidecar_files(sources, folder, table) if there.get(file.key) != file.sha256}
    wanted = [
        bool(sources[place].encoding)
        or there.get(f"{folder}{form.file_name(image_id)}") != sha256
        or f"{folder}{image_id}{SIDECAR}" in sidecars
        for place, image_id, sha256 in rows
    ]
    return table.filter(pa.array(wanted, pa.bool_()))


def _put(to: Store, key: str, data: bytes, content_type: str) -> None:
    """What an attempt that was cut off has left there is equal."""
    if not to.put_if_absent(key, data, content_type) and to.get(key) != data:
        raise _differs(to, key)


def _differs(to: Store, key: str) -> DarkroomError:
    return DarkroomError(
        f"{to.describe(key)}: its bytes are not what this export writes (damaged, or of other versions of the software)"
        "; remove it, and give the same command again"
    )


# Containers ----------------------------------------------------------------------------------------------------------


def _tar(form: Format, images: Sequence[ExportedImage], columns: pa.Table) -> bytes:
    extension = EXTENSIONS[form.image_format]
    return write_tar(
        EncodedImage(
            record.image_id, image.data, extension, record.prompt, json.dumps(row, ensure_ascii=False), image.sidecar
        )
        for image, row in zip(images, json_rows(columns), strict=True)
        for record in [image.record]
    )


def _parquet(form: Format, images: Sequence[ExportedImage], columns: pa.Table) -> bytes:
    for field in form.sidecars:
        columns = columns.append_column(field, pa.array([image.sidecar for image in images], field.type))
    names = [form.file_name(image.record.image_id) for image in images]
    return parquet_of_images(names, [image.data for image in images], columns)


def _images_of_tar(container: bytes) -> dict[str, bytes]:
    return {image_id: found.data for image_id, found in index_tar(container).items()}


def _images_of_parquet(container: bytes) -> dict[str, bytes]:
    """Nothing of one that cannot be read."""
    try:
        rows = pq.read_table(io.BytesIO(container), columns=["image_id", "image"]).to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return {}
    return {row["image_id"]: row["image"]["bytes"] for row in rows}


@dataclass(frozen=True)
class _Container:
    content_type: str
    write: Callable[[Format, Sequence[ExportedImage], pa.Table], bytes]
    images: Callable[[bytes], dict[str, bytes]]  # image_id -> file


_CONTAINERS = {
    "webdataset": _Container("application/x-tar", _tar, _images_of_tar),
    "parquet": _Container(PARQUET, _parquet, _images_of_parquet),
}
