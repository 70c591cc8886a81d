"""References that Darkroom itself makes: a cell of another run, and drawings for the embedded model.

Of a run these are its committed images, with the features that lie beside them; the drawings are of the world that the
demo's prompts speak of, by the code that drew what the embedded model learned from. They show other scenes than the
prompts: a model is to be near the world, and not near certain pictures of it.
"""

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from hashlib import sha256

import numpy as np

from darkroom.demo import drawing, world
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Shard, digest
from darkroom.domain.records import OK, Record
from darkroom.evaluation.reference import NUM_IMAGES, Block, ImageFile, Images, Reference
from darkroom.runs import manifest
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import encode
from darkroom.runs.features import get_features
from darkroom.runs.images import with_bytes
from darkroom.runs.manifest import to_records
from darkroom.runs.opening import chosen_cell, open_whole
from darkroom.storage.input_files import reason_of
from darkroom.storage.store import Store, StoreError

DEMO = "demo"
# Eight times the dimensions of the embedded CLIP, so that their covariance has full rank, and drawn in a few seconds.
NUM_DRAWINGS = 512
SEED = 11


def run_reference(name: str, store: Store, cell_id: str | None) -> Reference:
    """The run at a store; `cell_id` may be None where it has one cell. Raises DarkroomError where none is chosen."""
    with _reading(name):
        chosen = chosen_cell(name, *open_whole(store), cell_id)
        shards = list(manifest.committed(store, chosen))
    if not shards:
        raise DarkroomError(f"reference {name}: cell {chosen} has no committed images yet; render it first")
    return Reference(name, "run", None, Images(partial(_run_blocks, name, store, shards)))


def _run_blocks(name: str, store: Store, shards: Sequence[Shard]) -> Iterator[Block]:
    """One for each shard, as its features are stored."""
    for shard in shards:
        with _reading(name):
            records = [record for record in to_records(manifest.read(store, shard)) if record.status == OK]
        if records:
            ids = tuple(record.sha256 or "" for record in records)
            prompts = tuple(record.prompt for record in records)
            stored = partial(_stored, name, store, shard, records)
            yield Block(ids, partial(_files, name, store, records), stored, prompts)


def _stored(name: str, store: Store, shard: Shard, records: Sequence[Record], extractor_id: str) -> np.ndarray | None:
    """The shard's features in the order of its records; None where one has none of the file that it names."""
    with _reading(name):
        found = get_features(store, extractor_id, shard)
    rows = [found.place(record.image_id, record.sha256) for record in records] if found else [None]
    known = [row for row in rows if row is not None]
    if found is None or len(known) < len(rows) or any(found.errors[row] for row in known):
        return None
    return found.images.features[known]


def _files(run: str, store: Store, records: Sequence[Record]) -> Iterator[ImageFile]:
    """A container whole, since it is fetched whole; single objects some at a time."""
    step = len(records) if records[0].member else NUM_IMAGES
    for start in range(0, len(records), step):
        with _reading(run):
            found = with_bytes(store, records[start : start + step])
        for record, data in found:
            name = f"{store.describe(record.key or '')}: {record.image_id}"
            if sha256(data).hexdigest() != record.sha256:
                raise DarkroomError(
                    f"reference {name}: not the bytes that were committed; bring them back with "
                    f"`{on_run('repair', store.spec)}`"
                )
            yield ImageFile(name, data)


@contextmanager
def _reading(name: str) -> Iterator[None]:
    """Turn a run's or a store's trouble into one line that names the reference."""
    try:
        yield
    except (DarkroomError, StoreError) as error:  # says what to do already
        raise DarkroomError(f"reference {name}: {error}") from error
    except OSError as error:
        raise DarkroomError(
            f"reference {name}: cannot be read ({reason_of(error)}); check that you may read the run"
        ) from error


# Drawings ----------------------------------------------------------------------------------------------------------


def demo_reference() -> Reference:
    """The same in every place that has the same code, so its code tells whether a cache still holds."""
    code = [inspect.getsource(part) for part in (world, drawing, drawings)]
    listing = digest("drawings", np.__version__, NUM_DRAWINGS, SEED, *code)
    return Reference(DEMO, DEMO, NUM_DRAWINGS, Images(_demo_blocks, listing))


def drawings() -> Iterator[np.ndarray]:
    """(64, 64, 3) uint8 RGB, each of another scene."""
    for number, scene in enumerate(world.other_scenes(SEED, NUM_DRAWINGS)):
        yield drawing.draw(scene, np.random.default_rng([SEED, number]))


def _demo_blocks() -> Iterator[Block]:
    pictures = list(drawings())
    for start in range(0, NUM_DRAWINGS, NUM_IMAGES):
        yield _demo_block(start, pictures[start : start + NUM_IMAGES])


def _demo_block(start: int, pictures: list[np.ndarray]) -> Block:
    """Named by their pixels: an encoder's version moves bytes."""

    def files() -> list[ImageFile]:
        numbered = enumerate(pictures, start)
        return [ImageFile(f"{DEMO}: drawing {number}", encode(picture, "png", 0)) for number, picture in numbered]

    return Block(tuple(sha256(picture.tobytes()).hexdigest() for picture in pictures), files)
