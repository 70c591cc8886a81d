"""A stream of images cut into blocks that memory holds. Knows no source."""

import hashlib
from collections.abc import Iterable, Iterator

from darkroom.references.reference import Block, ImageFile

NUM_IMAGES = 256  # in a block: some megabytes of features, and a few batches of any extractor
_NUM_BYTES = 64 << 20  # of encoded images in a block, unless one alone has more


def in_blocks(files: Iterable[ImageFile]) -> Iterator[Block]:
    """The same images cut the same way each time, so that what was kept of a block is found again."""
    held: list[ImageFile] = []
    size = 0
    for file in files:
        if held and (len(held) == NUM_IMAGES or size + len(file.data) > _NUM_BYTES):
            yield _block(tuple(held))
            held, size = [], 0
        held.append(file)
        size += len(file.data)
    if held:
        yield _block(tuple(held))


def _block(files: tuple[ImageFile, ...]) -> Block:
    return Block(tuple(hashlib.sha256(file.data).hexdigest() for file in files), lambda: files)
