"""The long measurement: planning, rendering and resuming at scale with the painter, and one table.

`make load`, or `python -m tests.load --num-images 1000000 --num-rows 100000000`: half an hour and 8 GB of disk.
"""

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import tests.conftest  # noqa: F401 - credentials for the server
from tests.load import measuring
from tests.load.measuring import Line, Load
from tests.servers import make_bucket, moto_server

HEAD = f"{'what':34} {'N':>11} {'seconds':>8} {'N/s':>9} {'first tenth, MB':>16} {'last tenth, MB':>15}"


def main() -> None:
    asked = _arguments()
    print(HEAD, flush=True)
    with tempfile.TemporaryDirectory() as name, moto_server() as endpoint:
        make_bucket(endpoint, "bucket")
        for line in lines(asked, Path(name), endpoint):
            print(
                f"{line.what:34} {line.count:11} {line.seconds:8.1f} {line.rate:9.0f} {line.first_mb:16.0f} "
                f"{line.last_mb:15.0f}",
                flush=True,
            )


def lines(asked: argparse.Namespace, folder: Path, endpoint: str) -> Iterator[Line]:
    yield from _plans(asked.num_rows, folder)
    prompts = measuring.write_prompts(folder / "prompts.parquet", asked.num_images)
    load = Load(prompts, asked.num_images, str(folder / "run"), asked.shard_size, asked.num_workers)
    yield measuring.rendering(load)
    yield measuring.asking(load)
    measuring.uncommit_last(load)
    remote = replace(load, uri="s3://bucket/run", endpoint_url=endpoint)
    measuring.copy_records(load, remote)
    yield measuring.resuming(load, "resumed start, disk")
    yield measuring.resuming(remote, "resumed start, S3 (moto)")


def _plans(num_rows: int, folder: Path) -> Iterator[Line]:
    """A tenth of the rows, then all of them."""
    for count in (num_rows // 10, num_rows) if num_rows else ():
        prompts = measuring.write_prompts(folder / "many.parquet", count)
        yield measuring.planning(prompts, count)
        prompts.unlink()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    parser.add_argument("--num-images", type=int, default=1_000_000)
    parser.add_argument("--num-rows", type=int, default=100_000_000, help="of the file that is planned; 0: none is")
    parser.add_argument("--shard-size", type=int, default=500)
    parser.add_argument("--num-workers", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
