"""The long measurement of metadata: how long it takes to read a run of very many shards, copied or not, and a table.

`make load`, or `python -m tests.load.metadata --num-shards 1000000`. The run is begun by a real job with the painter,
which renders one shard of 64 images; the other manifests are written directly, with records like those of that shard.
So that a million fit on a disk, on disk most are further links to some thousand different files, and the file cache
answers: what is measured there is Darkroom and the system's calls, not the disk. To S3 each is put.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

import tests.conftest  # noqa: F401 - credentials for the server
from darkroom.engine.planning import plan
from darkroom.runs import manifest
from darkroom.runs.cells import read_cells
from darkroom.runs.files import manifest_key
from darkroom.runs.run import open_run
from darkroom.storage.store import Store, open_store, parse_spec
from tests.jobs.helpers import ROOT
from tests.load.measuring import done, write_prompts
from tests.load.watching import watch
from tests.servers import make_bucket, moto_server

IMAGES = 64  # of a shard, which has one prompt
_START_S = 3.0  # of CPU, about, that any job takes before it reads: the rest grows with the number of shards
_DIFFERENT = 4096  # manifests on disk; others are links to them
_MANY = 10**8 // IMAGES  # shards of a hundred million images
_HEAD = f"{'what':44} {'shards':>9} {'seconds':>8} {'of CPU':>8} {'MB':>6} {'CPU minutes at 1e8 images':>26}"
_Cost = tuple[float, float, float]  # seconds, seconds of CPU, most memory in MB

# Parts of jobs, each in a process of its own. `run` is the run, `pa` Arrow.
_READING = {
    "names of what is committed": "ShardSet(run.info.shard_size, manifest.committed(run.store))",
    "verify's sample": "sample(run.store, 16, 0)",
    "evaluate's look at what has features": "sum(1 for _ in stored_features(run.store, "
    "committed_shards(run.store), {'0123456789abcdef': ()}))",
    "two columns of all records, pandas": "run.table(['status', 'render_s']).to_pandas()",
    "all columns of all records, one by one": "sum(len(part.table) for part in read_parts(run.store))",
    "pandas on the manifests' folder": "pd.read_parquet(run.uri + '/metadata', columns=['status', 'render_s'])",
    "duckdb on the manifests": 'duckdb.sql("SELECT status, count(*) FROM read_parquet(\'" + run.uri + '
    '"/metadata/*/*.parquet\') GROUP BY status").fetchall()',
    "duckdb on a table of two columns": "found = run.table(['status', 'render_s'])\n"
    "duckdb.sql('SELECT status, count(*) FROM found GROUP BY status').fetchall()",
}
_SCRIPT = """
import sys, time, resource
import darkroom
import pandas as pd
from darkroom.api.evaluation import stored_features
from darkroom.runs import manifest
from darkroom.runs.bulk import read_parts
from darkroom.runs.reading import sample
from darkroom.runs.listing import ShardSet, committed_shards
try:
    import duckdb
except ImportError:
    duckdb = None
run = darkroom.open_run(sys.argv[1], endpoint_url=sys.argv[2] or None)
started, cpu = time.perf_counter(), time.process_time()
{code}
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
print("measured", seconds, cpu, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000)
"""


@dataclass(frozen=True)
class Where:
    """A run of very many shards."""

    uri: str
    endpoint_url: str | None
    prompts: Path
    num_shards: int

    @property
    def store(self) -> Store:
        return open_store(parse_spec(self.uri, self.endpoint_url))

    @property
    def run_words(self) -> list[str]:
        return [f"run={self.uri}", *([f"endpoint_url={self.endpoint_url}"] if self.endpoint_url else [])]

    @property
    def words(self) -> list[str]:
        """Of the command that makes it."""
        endpoint = [f"output.endpoint_url={self.endpoint_url}"] if self.endpoint_url else []
        size = ("sampling.height=16", "sampling.width=16", f"sampling.num_images_per_prompt={IMAGES}")
        prompts = ("prompts=file", f"prompts.uri={self.prompts}", "engine=local", "engine.shard_size=1")
        return ["model=paint", *size, *prompts, f"output.uri={self.uri}", "output.layout=webdataset", *endpoint]


def main() -> None:
    asked = _arguments()
    print(_HEAD, flush=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        for line in measured(asked, Path(folder)):
            print(line, flush=True)


def measured(asked: argparse.Namespace, folder: Path) -> Iterator[str]:
    if asked.num_shards:
        prompts = write_prompts(folder / "prompts.parquet", asked.num_shards)
        yield from _of_run(Where(str(folder / "run"), None, prompts, asked.num_shards), asked.skip)
    if asked.num_s3_shards:
        prompts = write_prompts(folder / "some.parquet", asked.num_s3_shards)
        with moto_server() as endpoint:
            make_bucket(endpoint, "bucket")
            there = Where(f"s3://bucket/{uuid.uuid4().hex}", endpoint, prompts, asked.num_s3_shards)
            yield from _of_run(there, asked.skip)


def _of_run(where: Where, skipped: str) -> Iterator[str]:
    yield _line("a manifest of every shard is written", where, begin(where))
    yield from _readings("manifests", where, skipped)
    yield _line("compact", where, _job("compact", *where.run_words))
    yield from _readings("copied", where, skipped)
    yield _line("gc manifests=true", where, _job("gc", *where.run_words, "manifests=true", "older_than_s=0"))
    yield from _readings("copied, manifests removed", where, skipped)


def _readings(state: str, where: Where, skipped: str) -> Iterator[str]:
    yield f"-- {state}"
    yield _line("generate, of which all is there", where, _job("generate", *where.words))
    yield _line("status", where, _job("status", *where.run_words))
    yield _line("retry, of which nothing failed", where, _job("retry", *where.run_words, "engine=local"))
    for what, code in _READING.items():
        if "metadata" in code and (where.endpoint_url or "removed" in state):
            continue
        if ("duckdb" in what and not _has_duckdb()) or (skipped and re.search(skipped, what)):
            continue
        yield _line(what, where, _script(code, where))


def begin(where: Where) -> _Cost:
    """One shard by a real job, and the manifests of all others as if they had been rendered."""
    done(watch("generate", *where.words, f"engine.part=1/{where.num_shards}"))
    store, started, cpu = where.store, time.monotonic(), time.process_time()
    info, (cell_id,) = open_run(store), read_cells(store)
    first = manifest.read(store, next(manifest.committed(store)))
    there = set(manifest.committed(store))
    shards = plan(info.prompts.num_rows, info.shard_size, [cell_id], info.prompts.fingerprint, there)
    if where.endpoint_url:
        with ThreadPoolExecutor(16) as pool:
            assert all(pool.map(lambda shard: manifest.commit(store, shard, like(first)), shards))
        return time.monotonic() - started, time.process_time() - cpu, 0.0
    folder = Path(where.uri)
    different: list[Path] = []
    for number, shard in enumerate(shards):
        path = folder / manifest_key(shard)
        if number < _DIFFERENT:
            assert manifest.commit(store, shard, like(first))
            different.append(path)
        else:
            os.link(different[number % _DIFFERENT], path)
    return time.monotonic() - started, time.process_time() - cpu, 0.0


def like(first: pa.Table) -> pa.Table:
    """Records as long as these, that no compression finds equal."""
    for name in ("image_id", "sha256", "pixels_sha256"):
        values = [uuid.uuid4().hex * (1 if name == "image_id" else 2) for _ in range(len(first))]
        place = first.column_names.index(name)
        first = first.set_column(place, first.schema.field(name), pa.array(values, pa.string()))
    return first.replace_schema_metadata({"darkroom.num_images": str(len(first))})


def _job(job: str, *words: str) -> _Cost:
    before = os.times()
    seen = done(watch(job, *words))
    after = os.times()
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return seen.seconds, used, seen.peak_mb


def _script(code: str, where: Where) -> _Cost:
    command = [sys.executable, "-c", _SCRIPT.format(code=code), where.uri, where.endpoint_url or ""]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    _, *numbers = said.stdout.splitlines()[-1].split()
    seconds, cpu, mb = map(float, numbers)
    return seconds, cpu, mb


def _has_duckdb() -> bool:
    return subprocess.run([sys.executable, "-c", "import duckdb"], capture_output=True, check=False).returncode == 0


def _line(what: str, where: Where, found: _Cost) -> str:
    seconds, cpu, mb = found
    place = "S3 (moto)" if where.endpoint_url else "disk"
    minutes = (cpu - _START_S) / where.num_shards * _MANY / 60
    many = f"{minutes:.0f}" if cpu > 4 * _START_S else "too few shards to tell"
    return f"{f'{what}, {place}':44} {where.num_shards:9} {seconds:8.1f} {cpu:8.1f} {mb:6.0f} {many:>26}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.metadata")
    parser.add_argument("--num-shards", type=int, default=100_000, help="on disk; 0: none")
    parser.add_argument("--num-s3-shards", type=int, default=20_000, help="on the S3 server; 0: none")
    parser.add_argument("--folder", help="where the run goes: a gigabyte for each 100,000 shards")
    parser.add_argument("--skip", default="", help="a pattern of readings that are left out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
