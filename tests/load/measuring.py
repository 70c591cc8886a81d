"""What is measured under load, one function each: planning, rendering, a resumed start, the state of a run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from darkroom.runs import manifest
from darkroom.runs.files import manifest_key
from darkroom.storage.store import open_store, parse_spec
from tests.load.watching import Watched, watch

_BLOCK_ROWS = 1_000_000
_GROUP_ROWS = 100_000
_SIZE = ("sampling.height=64", "sampling.width=64")


@dataclass(frozen=True)
class Line:
    """One line of the table."""

    what: str
    count: int  # of rows or images
    seconds: float
    first_mb: float  # most memory of the driver in the first tenth of `seconds`
    last_mb: float  # in the last

    @property
    def rate(self) -> float:
        return self.count / self.seconds


@dataclass(frozen=True)
class Load:
    """A run to be: where it lies, what it renders, on how many workers."""

    prompts: Path
    num_images: int
    uri: str
    shard_size: int
    num_workers: int
    endpoint_url: str | None = None

    @property
    def overrides(self) -> Sequence[str]:
        endpoint = [f"output.endpoint_url={self.endpoint_url}"] if self.endpoint_url else []
        engine = ("engine=ray", f"engine.num_workers={self.num_workers}", f"engine.shard_size={self.shard_size}")
        output = (f"output.uri={self.uri}", "output.layout=webdataset", *endpoint)
        return ("model=paint", *_SIZE, "prompts=file", f"prompts.uri={self.prompts}", *output, *engine)


def write_prompts(path: Path, num_rows: int, num_different: int | None = None) -> Path:
    """Short prompts, of which at most this many are different."""
    colours = pa.array(["red", "green", "blue", "yellow", "black", "white"])
    with pq.ParquetWriter(path, pa.schema([("prompt", pa.string())])) as writer:
        for start in range(0, num_rows, _BLOCK_ROWS):
            rows = pa.array(range(start, min(start + _BLOCK_ROWS, num_rows)), pa.int64()).to_numpy()
            numbers = pa.array(rows % (num_different or num_rows))
            colour = colours.take(pa.array(numbers.to_numpy() % len(colours)))
            prompt = pc.binary_join_element_wise("a", colour, "circle, number", numbers.cast(pa.string()), " ")
            writer.write_table(pa.table({"prompt": prompt}), _GROUP_ROWS)
    return path


def planning(prompts: Path, num_rows: int) -> Line:
    seen = done(watch("plan", "model=paint", *_SIZE, "prompts=file", f"prompts.uri={prompts}"))
    return Line("planning", num_rows, seen.seconds, seen.peak_mb, seen.peak_mb)


def rendering(load: Load) -> Line:
    """From the first worker's readiness to the end."""
    seen = done(watch("generate", *load.overrides))
    start, stop = seen.when(" is ready"), seen.when("images rendered in")
    tenth = (stop - start) / 10
    first, last = seen.peak_between(start, start + tenth), seen.peak_between(stop - tenth, stop)
    return Line("rendering", load.num_images, stop - start, first, last)


def resuming(load: Load, what: str) -> Line:
    """From the start of the process to the commit of the only shard that is left."""
    seen = done(watch("generate", *load.overrides))
    seconds = seen.when(" images (")
    return Line(what, load.num_images, seconds, seen.peak_mb, seen.peak_mb)


def asking(load: Load) -> Line:
    seen = done(watch("status", f"run={load.uri}"))
    assert f"records:   {load.num_images} ok" in seen.text
    return Line("status", load.num_images, seen.seconds, seen.peak_mb, seen.peak_mb)


def uncommit_last(load: Load) -> None:
    """Take one shard back."""
    store = open_store(parse_spec(load.uri))
    *_, last = manifest.committed(store)
    store.delete([manifest_key(last)])


def copy_records(load: Load, there: Load) -> None:
    """All of a run but its images, of which only the first shard's are looked at."""
    store, other = (open_store(parse_spec(each.uri, each.endpoint_url)) for each in (load, there))
    first = manifest.read(store, next(manifest.committed(store)), ["key"])["key"][0].as_py()
    for info in store.list():
        if not info.key.startswith("images/") or info.key == first:
            other.put(info.key, store.get(info.key))


def done(seen: Watched) -> Watched:
    assert seen.code == 0, seen.text
    return seen
