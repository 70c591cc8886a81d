"""Images in files as a reference: one image a file, members of WebDataset tars, cells of a Parquet column.

Nothing is unpacked to a disk.
"""

import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import PurePosixPath
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.reference import IMAGE_ENDINGS, Block, ImageFile, Images, Reference, check_size, in_blocks
from darkroom.storage.input_files import InputFile, listing_digest, one_line
from darkroom.storage.store import prefetched

_LISTING_VERSION = 2  # counted up when the same files are to be read as other images
_NUM_READERS = 16  # files read at once: a bucket answers slowly, and many times at once
_COLUMN = "image"
_BATCH_ROWS = 16

Reader = Callable[[Sequence[InputFile]], Iterable[ImageFile]]


def folder_reference(name: str, files: Sequence[InputFile], endpoint_url: str | None) -> Reference:
    """One image a file."""
    for file in files:
        check_size(file.name, file.state.size_bytes)
    return Reference(name, "images", len(files), _images("images", files, endpoint_url, _files))


def tar_reference(name: str, files: Sequence[InputFile], endpoint_url: str | None) -> Reference:
    """Every member of tars whose name ends as an image's does."""
    return Reference(name, "webdataset", None, _images("tar", files, endpoint_url, _members_of_all))


def parquet_reference(name: str, files: Sequence[InputFile], endpoint_url: str | None) -> Reference:
    """A column of encoded images, as `datasets` writes them or as plain bytes."""
    num_images = sum(_checked_rows(file) for file in files)
    return Reference(name, "parquet", num_images, _images("parquet", files, endpoint_url, _cells_of_all))


def _images(kind: str, files: Sequence[InputFile], endpoint_url: str | None, read: Reader) -> Images:
    listing = listing_digest(files, _LISTING_VERSION, kind, endpoint_url)
    return Images(partial(_blocks, read, files), listing)


def _blocks(read: Reader, files: Sequence[InputFile]) -> Iterator[Block]:
    return in_blocks(read(files))


# Files -------------------------------------------------------------------------------------------------------------


def _files(files: Sequence[InputFile]) -> Iterator[ImageFile]:
    return prefetched(files, _file, _NUM_READERS)


def _file(file: InputFile) -> ImageFile:
    return ImageFile(file.name, file.read())


# Tars --------------------------------------------------------------------------------------------------------------


class _StrictTarInfo(tarfile.TarInfo):
    """The tarfile module takes a broken header for the end of the archive; here only its end marker is."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> "_StrictTarInfo":
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(str(error)) from error


def _members_of_all(files: Sequence[InputFile]) -> Iterator[ImageFile]:
    return (image for file in files for image in _members(file))


def _members(file: InputFile) -> Iterator[ImageFile]:
    """From front to back, each byte read once."""
    try:
        with file.reading(), cast(IO[bytes], file.open_stream()) as stream, _open_tar(stream) as tar:
            yield from (_member(file, tar, info) for info in tar if _is_image(info))
    except DarkroomError:
        raise
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise DarkroomError(f"reference {file.name}: no whole tar ({one_line(str(error))}); copy it anew") from error


def _open_tar(stream: IO[bytes]) -> tarfile.TarFile:
    return tarfile.open(fileobj=stream, mode="r|", tarinfo=_StrictTarInfo)


def _member(file: InputFile, tar: tarfile.TarFile, info: tarfile.TarInfo) -> ImageFile:
    name = f"{file.name}: {one_line(info.name)}"
    check_size(name, info.size)
    member = tar.extractfile(info)
    assert member is not None  # since it is a file
    return ImageFile(name, member.read())


def _is_image(info: tarfile.TarInfo) -> bool:
    path = PurePosixPath(info.name)
    return info.isfile() and path.suffix.lower() in IMAGE_ENDINGS and not path.name.startswith(".")


# Parquet -----------------------------------------------------------------------------------------------------------


def _checked_rows(file: InputFile) -> int:
    with file.reading(), pq.ParquetFile(file.open_file()) as parquet:
        _column(file, parquet.schema_arrow)
        return parquet.metadata.num_rows


def _cells_of_all(files: Sequence[InputFile]) -> Iterator[ImageFile]:
    return (image for file in files for image in _cells(file))


def _cells(file: InputFile) -> Iterator[ImageFile]:
    with file.reading(), pq.ParquetFile(file.open_file()) as parquet:
        column, row = _column(file, parquet.schema_arrow), 0
        for batch in parquet.iter_batches(_BATCH_ROWS, columns=[column]):
            values = batch.column(0)
            for value in values.field("bytes") if pa.types.is_struct(values.type) else values:
                yield _cell(f"{file.name}: row {row}", value.as_py())
                row += 1


def _cell(name: str, data: bytes | None) -> ImageFile:
    if data is None:
        raise DarkroomError(f"reference {name}: no image bytes in it; write the table with its images embedded")
    return ImageFile(name, data)


def _column(file: InputFile, schema: pa.Schema) -> str:
    """What to read of the image column: `image`, or the only one that can be it; of a struct, its bytes."""
    found = {field.name: path for field in schema if (path := _bytes_path(field))}
    if _COLUMN in found or len(found) == 1:
        return found.get(_COLUMN) or next(iter(found.values()))
    columns = one_line(", ".join(schema.names)) or "none"
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
