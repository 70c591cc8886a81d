"""Image files as a reference: one image a file. Knows no containers."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from darkroom.references.blocks import in_blocks
from darkroom.references.decoding import check_size
from darkroom.references.files import File, listing
from darkroom.references.reference import ImageFile, Images, Reference

_NUM_READERS = 16  # files read at once: a bucket answers slowly, and many times at once


def folder_reference(name: str, files: Sequence[File], endpoint_url: str | None) -> Reference:
    for file in files:
        check_size(file.name, file.size_bytes)
    blocks = partial(_blocks, files)
    return Reference(name, "images", len(files), Images(blocks, listing("images", files, endpoint_url)))


def _blocks(files: Sequence[File]) -> Iterator:
    return in_blocks(_read(files))


def _read(files: Sequence[File]) -> Iterator[ImageFile]:
    with ThreadPoolExecutor(_NUM_READERS) as pool:
        for start in range(0, len(files), _NUM_READERS):
            yield from pool.map(_read_one, files[start : start + _NUM_READERS])


def _read_one(file: File) -> ImageFile:
    return ImageFile(file.name, file.read())
