"""The long measurement of evaluation: memory and seconds of the driver for ever more shards, without Ray and with it.

`make load`, or `python -m tests.load.evaluating --num-shards 200 5000`. The run is begun as that of `metadata.py`;
features of DIMENSION random numbers are written beside each manifest, as if its images had been looked at.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.opening import inspect_extractor
from darkroom.runs import manifest
from darkroom.runs.features import ImageFeatures, ShardFeatures, put_features
from darkroom.storage.store import prefetched
from tests.load.measuring import done, write_prompts
from tests.load.metadata import Where, begin
from tests.load.watching import watch
from tests.servers import make_bucket, moto_server

_HEAD = f"{'engine':24} {'where':10} {'shards':>8} {'images':>10} {'seconds':>8} {'driver, MB':>11}  {'figure'}"
_METRICS = "metrics=[demo_clip.clip_score,demo_clip.frechet,demo_clip.vendi]"
_ENGINES = {"local": ("engine=local",), "ray, 2 workers": ("engine=ray", "engine.num_workers=2")}


@dataclass(frozen=True)
class _Features:
    """Writes those of a shard, a function of its rows alone."""

    where: Where

    @cached_property
    def info(self):
        return inspect_extractor(ExtractorSpec("demo_clip"))

    def put(self, shard) -> None:
        table = manifest.read(self.where.store, shard, ["image_id", "sha256"])
        rng, count = np.random.default_rng(shard.start), len(table)
        features = rng.normal(size=(count, self.info.dimension)).astype(np.float32)
        cosines = rng.normal(0.3, 0.1, count).astype(np.float32)
        images = ImageFeatures(tuple(table["image_id"].to_pylist()), features, cosines, np.zeros(count, bool))
        found = ShardFeatures(images, tuple(table["sha256"].to_pylist()), ("",) * count)
        put_features(self.where.store, self.info.extractor_id, shard, found)


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
    begin(where)
    features = _Features(where)
    for _ in prefetched(manifest.committed(where.store), features.put):
        pass
    for name, engine in _ENGINES.items():
        seen = done(watch("evaluate", *where.run_words, *engine, "reference=demo", _METRICS))
        place = "S3 (moto)" if where.endpoint_url else "disk"
        figures = [word for _, line in seen.lines if "clip_score" in line for word in line.split()]
        num_images = f"{where.num_shards:8} {where.num_shards * 64:10}"
        print("".join(line for _, line in seen.lines[-40:])) if not figures else None
        yield f"{name:24} {place:10} {num_images} {seen.seconds:8.1f} {seen.peak_mb:11.0f}  {' '.join(figures[:6])}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load.evaluating")
    parser.add_argument("--num-shards", type=int, nargs="+", default=[200, 5000, 20_000])
    parser.add_argument("--s3", action="store_true", help="on the S3 server of the tests, not on a disk")
    parser.add_argument("--folder", help="where runs go")
    return parser.parse_args()


if __name__ == "__main__":
    main()
