"""The long measurement of evaluation: memory and seconds of the driver for ever more shards, without Ray and with it.

`make load`, or `python -m tests.load.evaluating --num-shards 200 5000`. The run is begun as that of `metadata.py`;
random features are written beside each manifest, as if its images had been looked at.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from darkroom.domain.identity import Shard
from darkroom.engine.planning import plan
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import inspect_extractor
from darkroom.runs import manifest
from darkroom.runs.cells import read_cells
from darkroom.runs.features import ImageFeatures, ShardFeatures, put_features
from darkroom.runs.run import open_run
from darkroom.storage.store import prefetched
from tests.load.measuring import done, write_prompts
from tests.load.metadata import IMAGES, Where, like
from tests.load.watching import watch
from tests.servers import make_bucket, moto_server

_HEAD = f"{'engine':16} {'where':10} {'shards':>8} {'images':>10} {'seconds':>8} {'driver, MB':>10}  Fréchet distance"
_MEASURED = ("evaluation.metrics=[demo_clip.clip_score]",)
_METRICS = "metrics=[demo_clip.clip_score,demo_clip.frechet,demo_clip.vendi]"
_ENGINES = {"local": ("engine=local",), "ray, 2 workers": ("engine=ray", "engine.num_workers=2")}


class _Written:
    """Writes a shard's manifest, with a prompt of its own, and its features."""

    def __init__(self, where: Where, first: pa.Table) -> None:
        self._store, self._first = where.store, first
        self._info = inspect_extractor(ExtractorSpec("demo_clip"))

    def __call__(self, shard: Shard) -> None:
        table, count = like(self._first), len(self._first)
        for name, value in (("prompt_id", f"p{shard.start}"), ("prompt", f"a circle, number {shard.start}")):
            place = table.column_names.index(name)
            table = table.set_column(place, table.schema.field(name), pa.array([value] * count))
        rng = np.random.default_rng(shard.start)
        features = rng.normal(size=(count, self._info.dimension)).astype(np.float32)
        cosines = rng.normal(0.3, 0.1, count).astype(np.float32)
        images = ImageFeatures(tuple(table["image_id"].to_pylist()), features, cosines, np.zeros(count, bool))
        found = ShardFeatures(images, tuple(table["sha256"].to_pylist()), ("",) * count)
        put_features(self._store, self._info.extractor_id, shard, found)
        assert manifest.commit(self._store, shard, table)


def _begin(where: Where) -> None:
    """One shard by a real job, and the others as if they had been rendered and looked at."""
    done(watch("generate", *where.words, f"engine.part=1/{where.num_shards}", "evaluate=inline", *_MEASURED))
    store = where.store
    info, (cell_id,) = open_run(store), read_cells(store)
    there = set(manifest.committed(store))
    shards = plan(info.prompts.num_rows, info.shard_size, [cell_id], info.prompts.fingerprint, there)
    for _ in prefetched(shards, _Written(where, manifest.read(store, *there))):
        pass


def main() -> None:
    asked = _arguments()
    print(_HEAD, flush=True)
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder, moto_server() as endpoint:
        make_bucket(endpoint, "bucket")
        for number in asked.num_shards:
            for line in _evaluated(_where(Path(folder), number, endpoint if asked.s3 else None)):
                print(line, flush=True)


def _where(folder: Path, num_shards: int, endpoint: str | None) -> Where:
    prompts = write_prompts(folder / f"prompts{num_shards}.parquet", num_shards)
    uri = f"s3://bucket/run{num_shards}" if endpoint else str(folder / f"run{num_shards}")
    return Where(uri, endpoint, prompts, num_shards)


def _evaluated(where: Where) -> Iterator[str]:
    _begin(where)
    place, num_images = "S3 (moto)" if where.endpoint_url else "disk", where.num_shards * IMAGES
    for name, engine in _ENGINES.items():
        seen = done(watch("evaluate", *where.run_words, *engine, "reference=demo", _METRICS))
        figures = [word for _, line in seen.lines if line.startswith("demo_clip.frechet") for word in line.split()]
        yield (
            f"{name:16} {place:10} {where.num_shards:8} {num_images:10} {seen.seconds:8.1f} {seen.peak_mb:10.0f}  "
            f"{' '.join(figures[1:4])}"
        )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.evaluating")
    parser.add_argument("--num-shards", type=int, nargs="+", default=[200, 5000, 20_000])
    parser.add_argument("--s3", action="store_true", help="on the S3 server of the tests, not on a disk")
    parser.add_argument("--folder", help="where runs go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
