"""Check everything and say what `generate` would do: images, shards, bytes and time. Writes nothing."""

import time
from collections.abc import Sequence

from omegaconf import DictConfig

from conf.schema import PromptsKind
from jobs.build import Wanted, renderer_spec, wanted
from jobs.checks import warn
from jobs.cli import run_job
from jobs.engine import likely_device
from pipeline.domain.images import Sample, samples
from pipeline.planning.plan import num_shards
from pipeline.prompts.source import write_parquet
from pipeline.rendering.loading import load_renderer
from pipeline.storage.opening import open_store
from pipeline.worker.batches import batches
from pipeline.worker.worker import encode_member

_PROBE_BATCHES = 2  # timed, after one that is not


def run(config: DictConfig) -> int:
    device = likely_device(config.engine)
    found = wanted(config, device)
    warn(found)
    _write_prompts(found)
    seconds, size_bytes = _probe(found, device)
    scan, engine = found.scan, config.engine
    shards = num_shards(scan.num_rows, engine.shard_size)
    workers = engine.num_workers or 1
    print(f"prompts: {scan.num_rows} rows, {scan.num_invalid} of them invalid, fingerprint {scan.fingerprint[:16]}")
    print(f"model:   {found.ref.repo_id} {found.model.identity.revision[:19]} {found.model.identity.dtype}")
    print(f"output:  {open_store(found.store).describe()}")
    print(f"images:  {scan.num_images}, in {shards} shards of {engine.shard_size} prompts")
    print(f"bytes:   about {_readable(size_bytes * scan.num_images)} ({_readable(size_bytes)} an image)")
    total_s = seconds * scan.num_images / workers
    print(
        f"time:    about {_duration(total_s)} on {workers} worker(s) such as this {device} ({seconds:.3f} s an image)"
    )
    return 0


def _write_prompts(found: Wanted) -> None:
    path = found.config.prompts.get("write_to")
    if found.config.prompts.kind is PromptsKind.template and path:
        print(f"wrote {write_parquet(found.dataset, path)} prompts to {path}")


def _probe(found: Wanted, device: str) -> tuple[float, float]:
    """(seconds, encoded bytes) an image, from real batches of the dataset's first prompts."""
    run_info, engine = found.run_info(), found.config.engine
    renderer = load_renderer(renderer_spec(found.model, device, engine.batch_size, engine.compile))
    probe = _first_batch(found, engine.batch_size)
    requests = [sample.request for sample in probe]
    renderer.render(requests)
    started = time.perf_counter()
    for _ in range(_PROBE_BATCHES):
        images = renderer.render(requests)
    seconds = (time.perf_counter() - started) / _PROBE_BATCHES / engine.batch_size
    pairs = [(sample, image) for sample, image in zip(probe, images, strict=True) if image.pixels is not None]
    sizes = [len(encode_member(sample, image, run_info).data) for sample, image in pairs]
    return seconds, sum(sizes) / max(1, len(sizes))


def _first_batch(found: Wanted, batch_size: int) -> Sequence[Sample]:
    run_info = found.run_info()
    rows = [row for row in next(found.dataset.blocks(0)).rows[:batch_size] if not row.error]
    images = [
        sample for row in rows for sample in samples(row, run_info.cell, run_info.seed, run_info.num_images_per_prompt)
    ]
    return next(batches(images, batch_size))


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
