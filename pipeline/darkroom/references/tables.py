"""Images in a Parquet column as a reference, as `datasets` writes them or as plain bytes. Knows no other column."""

from collections.abc import Iterator, Sequence
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.references.blocks import in_blocks
from darkroom.references.files import File, listing, reading, shown
from darkroom.references.reference import Block, ImageFile, Images, Reference

_COLUMN = "image"
_BATCH_ROWS = 16


def parquet_reference(name: str, files: Sequence[File], endpoint_url: str | None) -> Reference:
    num_images = sum(_checked_rows(file) for file in files)
    blocks = partial(_blocks, files)
    return Reference(name, "parquet", num_images, Images(blocks, listing("parquet", files, endpoint_url)))


def _checked_rows(file: File) -> int:
    with reading(file.name), _open(file) as parquet:
        _column(file, parquet.schema_arrow)
        return parquet.metadata.num_rows


def _blocks(files: Sequence[File]) -> Iterator[Block]:
    return in_blocks(image for file in files for image in _images(file))


def _images(file: File) -> Iterator[ImageFile]:
    with reading(file.name), _open(file) as parquet:
        column, row = _column(file, parquet.schema_arrow), 0
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=[column]):
            values = batch.column(0)
            for value in values.field("bytes") if pa.types.is_struct(values.type) else values:
                yield _image(f"{file.name}: row {row}", value.as_py())
                row += 1


def _image(name: str, data: bytes | None) -> ImageFile:
    if data is None:
        raise DarkroomError(f"reference {name}: no image bytes in it; write the table with its images embedded")
    return ImageFile(name, data)


def _open(file: File) -> pq.ParquetFile:
    return pq.ParquetFile(file.filesystem.open_input_file(file.path))


def _column(file: File, schema: pa.Schema) -> str:
    """What to read of the image column: `image`, or the only one that can be it; of a struct, its bytes."""
    found = {field.name: path for field in schema if (path := _bytes_path(field))}
    if _COLUMN in found or len(found) == 1:
        return found.get(_COLUMN) or next(iter(found.values()))
    columns = shown(", ".join(schema.names)) or "none"
    problem = f"{len(found)} columns may hold images" if found else "no column holds images"
    raise DarkroomError(
        f"reference {file.name}: {problem}; its columns are {columns}; name the one of encoded images {_COLUMN!r}"
    )


def _bytes_path(field: pa.Field) -> str | None:
    if _is_binary(field.type):
        return field.name
    inside = field.type.get_field_index("bytes") if pa.types.is_struct(field.type) else -1
    return f"{field.name}.bytes" if inside >= 0 and _is_binary(field.type.field(inside).type) else None


def _is_binary(kind: pa.DataType) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)
