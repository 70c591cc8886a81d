"""Chooses how a reference is read, by what lies at its address: no image is decoded, no network loaded.

Images are one a file, members of WebDataset tars, or cells of a Parquet column; nothing is unpacked to a disk.
"""

import hashlib
import re
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath
from typing import IO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import fs

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.moments import from_npz
from darkroom.evaluation.reference import (
    IMAGE_ENDINGS,
    Block,
    ImageFile,
    Images,
    Reference,
    ReferenceSpec,
    Statistics,
    check_count,
    check_size,
    in_blocks,
)
from darkroom.evaluation.reference_generated import DEMO, demo_reference, run_reference
from darkroom.runs.files import RUN_KEY, parse_manifest_key, parse_segment_key
from darkroom.storage.input_files import InputFile, listing_digest, one_line
from darkroom.storage.scanning import Kinds, Place, locate, scan
from darkroom.storage.store import Store, is_remote, open_store, parse_spec, prefetched

_LISTING_VERSION = 2  # counted up when the same files are to be read as other images
_NUM_READERS = 16  # files read at once: a bucket answers slowly, and many times at once
_COLUMN = "image"
_BATCH_ROWS = 16

Reader = Callable[[Sequence[InputFile]], Iterable[ImageFile]]
_NAME, _NO_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*"), re.compile(r"[^A-Za-z0-9_-]+")
_NEEDED = "give demo, a folder or glob of images, .tar, .parquet, an .npz, or the folder of a run"
_SEVERAL = (
    "; this is read as one address: several have names of letters, digits, _ and - alone, where a job takes several"
)
_IS_LISTED = re.compile(r"\s*(\[.*\]|\{.*\})\s*", re.DOTALL)
_STATISTICS = ".npz"


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


# Which of them an address names --------------------------------------------------------------------------------------


_READERS: Mapping[str, Callable[[str, Sequence[InputFile], str | None], Reference]] = {
    **dict.fromkeys(sorted(IMAGE_ENDINGS), folder_reference),
    ".tar": tar_reference,
    ".parquet": parquet_reference,
}


def _statistics_beside(files: Sequence[InputFile]) -> list[InputFile]:
    return [file for file in files if file.ending == _STATISTICS] if len(files) > 1 else []


_KINDS = Kinds(
    frozenset([*_READERS, _STATISTICS]),
    "images",
    exclude=_statistics_beside,
    exclude_reason="statistics beside other files",
)


def named_references(given: str | Sequence[str] | Mapping[str, str] | None) -> dict[str, str]:
    """What each reference is called -> its address: "" is the name of one that has none.

    Several that are given without names are called by the ends of their addresses. Raises DarkroomError for a name
    that no figure can have.
    """
    if given is None:
        return {}
    if isinstance(given, str):
        return {"": given}
    if not given:
        raise DarkroomError(f"reference={given or '[]'} names none; {_NEEDED}; or null, to compare with nothing")
    if isinstance(given, Mapping):
        for name in given:
            if not _NAME.fullmatch(name):
                raise DarkroomError(
                    f"reference: the name {name!r} cannot be part of a figure's; use letters, digits, _ and -"
                )
        return dict(given)
    return {"": given[0]} if len(given) == 1 else _called_by_their_ends(given)


def _called_by_their_ends(addresses: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for address in addresses:
        parts = [part for part in address.split("/") if part and not set(part) & set("*?[")]
        name = _NO_NAME.sub("_", PurePosixPath(parts[-1]).stem if parts else "").strip("_-")
        if not name or name in found:
            why = f"{found[name]} and {address} would both be called {name}" if name else f"{address} has no name"
            raise DarkroomError(f"reference: {why}; give names, as in {{one: {addresses[0]}, other: {addresses[1]}}}")
        found[name] = address
    return found


def open_references(
    given: str | Sequence[str] | Mapping[str, str] | None, endpoint_url: str | None
) -> dict[str, Reference]:
    """By their names, each as `open_reference` finds it; of several the endpoint is of those on S3 alone."""
    named = named_references(given)
    is_mixed = any(map(is_remote, named.values()))
    return {
        name: open_reference(ReferenceSpec(address, endpoint_url if is_remote(address) or not is_mixed else None))
        for name, address in named.items()
    }


def open_reference(spec: ReferenceSpec) -> Reference:
    """What the text names: that it is there, its kind, and its number of images where that is known without reading.

    Raises DarkroomError in one line, with the remedy.
    """
    if spec.text == DEMO:
        return demo_reference()
    if not spec.text.strip():
        raise DarkroomError(f"reference is empty; {_NEEDED}")
    place = _locate(spec, spec.text)
    if place.holds(RUN_KEY):
        return run_reference(spec.text, _store(spec, spec.text), None)
    return _of_cell(spec, place) or _of_files(spec, place)


def _locate(spec: ReferenceSpec, uri: str) -> Place:
    return locate(uri, spec.endpoint_url, "reference", "reference_endpoint_url")


def _store(spec: ReferenceSpec, uri: str) -> Store:
    return open_store(parse_spec(uri, spec.endpoint_url))


def _of_cell(spec: ReferenceSpec, place: Place) -> Reference | None:
    """`run#cell_id`, unless something has that very name."""
    uri, sign, cell_id = spec.text.rpartition("#")
    if not sign or not uri or place.type != fs.FileType.NotFound:
        return None
    return run_reference(spec.text, _store(spec, uri), cell_id) if _locate(spec, uri).holds(RUN_KEY) else None


def _of_files(spec: ReferenceSpec, place: Place) -> Reference:
    found = scan(place, _KINDS)
    _check_is_no_run(spec, place, found.files)
    if [file.ending for file in found.files] == [_STATISTICS]:
        return _statistics_reference(spec.text, found.files[0])
    by_reader: dict[Callable[..., Reference], list[InputFile]] = {}
    for file in found.files:
        if file.ending in _READERS:
            by_reader.setdefault(_READERS[file.ending], []).append(file)
    if not by_reader:
        others = [*found.left_out, *(f"{file.name} is not of images by its ending" for file in found.files)]
        problem = "; ".join(["no image is there", *others]) if others else "nothing is there"
        several = _SEVERAL if _IS_LISTED.fullmatch(spec.text) else ""
        raise DarkroomError(f"reference {spec.text}: {problem}; {_NEEDED}{several}")
    if len(by_reader) > 1:
        counts = sorted(Counter(file.ending for file in found.files).items())
        kinds = ", ".join(f"{count} {ending}" for ending, count in counts)
        raise DarkroomError(
            f"reference {spec.text}: it holds {kinds}; name one kind of them, as folder/**/*{counts[0][0]}"
        )
    reader, chosen = by_reader.popitem()
    reference = reader(spec.text, chosen, spec.endpoint_url)
    if reference.num_images is not None:
        check_count(reference.name, reference.num_images)
    return replace(reference, left_out=found.left_out)


def _check_is_no_run(spec: ReferenceSpec, place: Place, files: Sequence[InputFile]) -> None:
    """A run whose description is lost is no folder of images: some may be of no shard, or of another cell."""
    below = len(place.path) + 1
    names = [file.path[below:] for file in files if file.ending == ".parquet"]
    if any(parse_manifest_key(name) or parse_segment_key(name) for name in names):
        run_reference(spec.text, _store(spec, spec.text), None)  # which says what is missing


def _statistics_reference(name: str, file: InputFile) -> Reference:
    data = file.read()
    gaussian = from_npz(data, f"reference {file.name}")
    return Reference(name, "statistics", None, Statistics(hashlib.sha256(data).hexdigest(), gaussian))
