"""A numbered shard of a dataset as files: a WebDataset tar, a Parquet file, or a folder of images beside their list.

What is written is a function of the records and the images' bytes alone. Each image is held against its record's digest
as it is copied. The file that a shard is known by is put last, so that its presence says that the shard is whole.
"""

import hashlib
import io
import json
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import RECORD_COLUMNS, Record
from darkroom.exporting.selection import TEXT, ShardRows, score_column
from darkroom.prompts.extras import json_values
from darkroom.runs.cells import CellInfo
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import (
    CONTENT_TYPES,
    EXTENSIONS,
    SIDECAR,
    EncodedImage,
    index_tar,
    parquet_of_images,
    write_tar,
)
from darkroom.runs.images import StoredFile, StoredSidecar, stored_files, stored_sidecars
from darkroom.runs.manifest import RECORD_SCHEMA, to_records
from darkroom.runs.signing import CONTENT_TYPE as SIDECAR_TYPE
from darkroom.storage.store import Store, prefetched

LIST = "metadata.jsonl"  # of a folder of images, by which `datasets` knows their other columns
# Of records: where an image lies in the run, which machine made it, and what is the same for all that are exported.
_LEFT_OUT = frozenset({
    "key", "member", "offset", "shard_id", "status", "error", "attempt", "host", "device_id", "worker", "render_s",
    "encode_s", "c2pa_key", "c2pa_sha256", "c2pa_bytes",
})  # fmt: skip
_COLUMN = "c2pa"  # of signed manifests
_TAKEN = ("image", "file_name", _COLUMN, TEXT)  # names that datasets give to columns themselves
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
    image_format: str  # of the run
    has_splits: bool
    own_columns: Sequence[str]  # of the prompt file
    scores: Sequence[str]
    cells: Mapping[str, CellInfo]  # by cell_id
    has_sidecars: bool = False  # images have signed manifests

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
    def names(self) -> list[str]:
        """Of the columns, without the image's."""
        table = RECORD_SCHEMA.empty_table()
        for name in [*self.own_columns, *map(score_column, self.scores)]:
            table = table.append_column(name, pa.nulls(0))
        return list(map(str, self.columns(table).column_names))

    def columns(self, table: pa.Table) -> pa.Table:
        """Of records: the prompt as `text`, then what says how the image was made, the prompt file's own columns,
        scores, and the model's lossy settings, where a cell has some. A name that is taken gets `source_` before it,
        and one by which a folder's column is taken for files `_text` after it."""
        found = {TEXT: table["prompt"]}
        found |= {name: table[name] for name in RECORD_COLUMNS if name not in _LEFT_OUT and name != "prompt"}
        fields = {name: RECORD_SCHEMA.field(name) for name in found if name in RECORD_SCHEMA.names}
        lossy = {cell_id: info.cell.model.lossy for cell_id, info in self.cells.items()}
        for name in self.own_columns:
            if name in table.column_names:
                is_opened = self.layout == "imagefolder" and _OPENED.fullmatch(name)
                called = _free(f"{name}_text" if is_opened else name, {*found, *self.scores})
                fields[called] = table.schema.field(name)
                found[called] = table[name]
        found |= {name: table[score_column(name)] for name in self.scores}
        for name in dict.fromkeys(name for values in lossy.values() for name in values):
            values = [lossy[cell_id].get(name) for cell_id in table["cell_id"].to_pylist()]
            found[_free(name, found)] = pa.array(values, _type_of(lossy, name))
        known = [fields[name].with_name(name) if name in fields else pa.field(name, found[name].type) for name in found]
        return pa.Table.from_arrays(list(found.values()), schema=pa.schema(known))


def _free(name: str, taken: Container[str]) -> str:
    while name in taken or name in _TAKEN:
        name = f"source_{name}"
    return name


def _type_of(lossy: Mapping[str, Mapping[str, Any]], name: str) -> pa.DataType:
    """One of all cells: a shard may hold those alone that do not have it."""
    return pa.array([values[name] for values in lossy.values() if name in values]).type


def write_shard(source: Store, to: Store, form: Format, rows: ShardRows, is_there: bool) -> list[ExportedFile]:
    """Write a shard that is not there; one that is there is held against what would be written. Its files.

    Raises DarkroomError for an image that is not what was committed, and for a shard with other bytes.
    """
    key = form.key(rows.split, rows.number, rows.num_shards)
    records = to_records(rows.table.select(RECORD_SCHEMA.names))
    columns = form.columns(rows.table)
    if form.layout == "imagefolder":
        return _image_folder(source, to, form, key, records, columns, is_there)
    container = _CONTAINERS[form.layout]
    if is_there:
        before = to.get(key)
        images = container.images(before)
        files = [images.get(each.image_id, _NO_FILES) for each in records]
        if not all(_are_committed(found, each) for found, each in zip(files, records, strict=True)):
            raise _differs(to, key)
    else:
        files = _committed_files(source, form, records)
    data = container.write(form, records, columns, files)
    if is_there and data != before:
        raise _differs(to, key)
    if not is_there:
        _put(to, key, data, container.content_type)
    return [ExportedFile(key, _digest(data), len(data))]


@dataclass(frozen=True)
class _Files:
    """What of an image is copied."""

    image: bytes
    sidecar: bytes | None = None  # its signed manifest


_NO_FILES = _Files(b"")


def _are_committed(files: _Files, record: Record) -> bool:
    sidecar = None if files.sidecar is None else _digest(files.sidecar)
    return (_digest(files.image), sidecar) == (record.sha256, record.c2pa_sha256)


def _committed_files(source: Store, form: Format, records: Sequence[Record]) -> list[_Files]:
    images = _whole(source, records)
    sidecars = stored_sidecars(source, records) if form.has_sidecars else [None] * len(records)
    return [
        _Files(image.data, _whole_sidecar(source, sidecar)) for image, sidecar in zip(images, sidecars, strict=True)
    ]


def _whole_sidecar(source: Store, sidecar: StoredSidecar | None) -> bytes | None:
    if sidecar is None:
        return None
    if sidecar.fault:
        record = sidecar.record
        raise DarkroomError(
            f"image {record.image_id} ({source.describe(record.c2pa_key or '')}): {sidecar.fault}; put it back from a "
            f"copy, and give the same command again; `{on_run('verify', source.spec, stored=True)}` tells of all"
        )
    return sidecar.data


def _image_folder(
    source: Store, to: Store, form: Format, key: str, records: Sequence[Record], columns: pa.Table, is_there: bool
) -> list[ExportedFile]:
    folder, names = key.removesuffix(LIST), [form.file_name(record.image_id) for record in records]
    rows = [{"file_name": name, **row} for name, row in zip(names, json_rows(columns), strict=True)]
    listed = b"".join(_json(row) + b"\n" for row in rows)
    if is_there and to.get(key) != listed:
        raise _differs(to, key)
    there = {info.key: info.size_bytes for info in to.list(folder)} if is_there else {}
    listed_files = [file for record in records for file in _listed_files(form, folder, record)]
    is_missing = {file.key: there.get(file.key) != file.size_bytes for file in listed_files}
    missing = [each for each in records if any(is_missing[file.key] for file in _listed_files(form, folder, each))]

    def copy(item: tuple[Record, _Files]) -> None:
        record, files = item
        _put(to, f"{folder}{form.file_name(record.image_id)}", files.image, CONTENT_TYPES[form.image_format])
        if files.sidecar is not None:
            _put(to, f"{folder}{record.image_id}{SIDECAR}", files.sidecar, SIDECAR_TYPE)

    for start in range(0, len(missing), _BATCH):
        batch = missing[start : start + _BATCH]
        for _ in prefetched(zip(batch, _committed_files(source, form, batch), strict=True), copy, waits=True):
            pass
    if not is_there:
        _put(to, key, listed, "application/jsonl")
    return [*listed_files, ExportedFile(key, _digest(listed), len(listed))]


def _listed_files(form: Format, folder: str, record: Record) -> Iterator[ExportedFile]:
    """Of one image."""
    yield ExportedFile(f"{folder}{form.file_name(record.image_id)}", record.sha256 or "", record.bytes or 0)
    if form.has_sidecars:
        yield ExportedFile(f"{folder}{record.image_id}{SIDECAR}", record.c2pa_sha256 or "", record.c2pa_bytes or 0)


def _whole(source: Store, records: Sequence[Record]) -> Iterator[StoredFile]:
    for file in stored_files(source, records):
        if file.fault:
            place = source.describe(file.record.key or "")
            raise DarkroomError(
                f"image {file.record.image_id} ({place}): {file.fault}; bring it back with "
                f"`{on_run('repair', source.spec)}`, and give the same command again"
            )
        yield file


def _put(to: Store, key: str, data: bytes, content_type: str) -> None:
    """What an attempt that was cut off has left there is equal."""
    if not to.put_if_absent(key, data, content_type) and to.get(key) != data:
        raise _differs(to, key)


def _differs(to: Store, key: str) -> DarkroomError:
    return DarkroomError(
        f"{to.describe(key)}: its bytes are not what this export writes (damaged, or of other versions of the software)"
        "; remove it, and give the same command again"
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# Rows as JSON --------------------------------------------------------------------------------------------------------


def json_rows(columns: pa.Table) -> list[dict[str, Any]]:
    """Each row with all of its columns, since readers take the first row's for those of all."""
    values = [json_values(columns.schema.field(name), columns[name]) for name in columns.column_names]
    return [dict(zip(columns.column_names, row, strict=True)) for row in zip(*values, strict=True)]


def _json(row: Mapping[str, Any]) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")


# Containers ----------------------------------------------------------------------------------------------------------


def _tar(form: Format, records: Sequence[Record], columns: pa.Table, files: Sequence[_Files]) -> bytes:
    extension = EXTENSIONS[form.image_format]
    return write_tar(
        EncodedImage(record.image_id, found.image, extension, record.prompt, _json(row).decode(), found.sidecar)
        for record, found, row in zip(records, files, json_rows(columns), strict=True)
    )


def _parquet(form: Format, records: Sequence[Record], columns: pa.Table, files: Sequence[_Files]) -> bytes:
    if form.has_sidecars:
        columns = columns.append_column(_COLUMN, pa.array([found.sidecar for found in files], pa.binary()))
    names = [form.file_name(record.image_id) for record in records]
    return parquet_of_images(names, [found.image for found in files], columns)


def _images_of_tar(container: bytes) -> dict[str, _Files]:
    return {image_id: _Files(found.data, found.sidecar) for image_id, found in index_tar(container).items()}


def _images_of_parquet(container: bytes) -> dict[str, _Files]:
    """Nothing of one that cannot be read."""
    try:
        file = pq.ParquetFile(io.BytesIO(container))
        wanted = ["image_id", "image", *({_COLUMN} & {*file.schema_arrow.names})]
        rows = file.read(columns=wanted).to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError):
        return {}
    return {row["image_id"]: _Files(row["image"]["bytes"], row.get(_COLUMN)) for row in rows}


@dataclass(frozen=True)
class _Container:
    content_type: str
    write: Callable[[Format, Sequence[Record], pa.Table, Sequence[_Files]], bytes]
    images: Callable[[bytes], dict[str, _Files]]  # by image_id


_CONTAINERS = {
    "webdataset": _Container("application/x-tar", _tar, _images_of_tar),
    "parquet": _Container("application/vnd.apache.parquet", _parquet, _images_of_parquet),
}
