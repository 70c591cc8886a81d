"""Check everything and say what `generate` would do: images, shards, bytes and time. Renders nothing into the run."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from omegaconf import DictConfig

from conf.schema import PromptsKind
from jobs.batch_size import settle_here
from jobs.build import Wanted, renderer_specs, wanted
from jobs.checks import warn
from jobs.cli import run_job
from jobs.engine import likely_device
from pipeline.domain.images import Sample, samples
from pipeline.planning.plan import num_shards
from pipeline.prompts.source import write_parquet
from pipeline.rendering.loading import load_renderer
from pipeline.storage.opening import open_store
from pipeline.worker.batches import batches
from pipeline.worker.members import encode_member

_PROBE_BATCHES = 2  # timed, after one that is not


def run(config: DictConfig) -> int:
    device = likely_device(config.engine)
    found = wanted(config, device)
    warn(found)
    store = open_store(found.store)
    if found.store.uri.startswith("s3://"):
        store.check(writing=False)  # a folder need not be there yet
    _write_prompts(found)
    settle_here(found, device)
    cost = _probe(found, device)
    scan, engine, identity = found.scan, config.engine, found.cells[0].cell.model
    workers = engine.num_workers or 1
    print(f"prompts: {scan.num_rows} rows, {scan.num_invalid} of them invalid, fingerprint {scan.fingerprint[:16]}")
    if scan.overriding:
        print(f"rows that override a setting: {scan.overriding}; prompts.columns.<setting>=null leaves the run's")
    print(f"model:   {found.cells[0].info.ref.repo_id} {identity.revision[:19]} {identity.dtype}")
    print(f"output:  {store.describe()}")
    shards = num_shards(scan.num_rows, engine.shard_size)
    print(f"images:  {scan.num_images}, in {shards} shards of {engine.shard_size} prompts")
    if cost is None:
        print("bytes:   unknown, and time too: no prompt of the first ones is valid")
        return 0
    print(f"bytes:   about {_readable(cost.size_bytes * scan.num_images)} ({_readable(cost.size_bytes)} an image)")
    total_s = cost.seconds * scan.num_images / workers
    print(
        f"time:    about {_duration(total_s)} on {workers} worker(s) such as this {device} "
        f"({cost.seconds:.3f} s an image)"
    )
    return 0


def _write_prompts(found: Wanted) -> None:
    path = found.config.prompts.get("write_to")
    if found.config.prompts.kind is PromptsKind.template and path:
        print(f"wrote {write_parquet(found.dataset, path)} prompts to {path}")


@dataclass(frozen=True)
class _Cost:
    """Of one image."""

    seconds: float
    size_bytes: float  # encoded


def _probe(found: Wanted, device: str) -> _Cost | None:
    """From real batches of the dataset's first valid prompts; None where the first rows hold none."""
    batch = _first_batch(found)
    if not batch:
        return None
    (spec,), (only,) = renderer_specs(found, device), found.cells
    renderer = load_renderer(spec)
    requests = [sample.request for sample in batch]
    renderer.render(requests)
    started = time.perf_counter()
    for _ in range(_PROBE_BATCHES):
        images = renderer.render(requests)
    # A short batch costs what a full one does.
    seconds = (time.perf_counter() - started) / _PROBE_BATCHES / spec.batch_size
    pairs = [(sample, image) for sample, image in zip(batch, images, strict=True) if image.pixels is not None]
    output = found.run_info().output
    sizes = [len(encode_member(sample, image, only.cell.model, output).data) for sample, image in pairs]
    return _Cost(seconds, sum(sizes) / max(1, len(sizes)))


def _first_batch(found: Wanted) -> Sequence[Sample]:
    run_info, (only,) = found.run_info(), found.cells
    rows = [row for row in next(found.dataset.blocks(0)).rows if not row.error]
    size = found.config.engine.batch_size
    images = [
        sample
        for row in rows[:size]
        for sample in samples(row, only.cell, run_info.seed, run_info.num_images_per_prompt)
    ]
    return next(batches(images, size), ())


def _readable(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


if __name__ == "__main__":
    run_job("plan")
