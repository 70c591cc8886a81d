"""Check everything and say what `generate` would do: images, shards, bytes and time. Renders nothing into the run."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from omegaconf import DictConfig

from darkroom.conf.schema import PromptsKind
from darkroom.domain.requests import ImageRequest, Sample, samples
from darkroom.domain.settings import Sampling
from darkroom.engine.device import batches
from darkroom.engine.planning import num_shards
from darkroom.jobs.batch_size import settle_here
from darkroom.jobs.build import Wanted, renderer_specs, wanted
from darkroom.jobs.checks import warn
from darkroom.jobs.engine import likely_device
from darkroom.prompts.dataset import write_parquet
from darkroom.rendering.renderer import Renderer, load_renderer
from darkroom.runs.encoding import size_fault
from darkroom.runs.layouts import encode_image
from darkroom.storage.opening import open_store

_PROBE_BATCHES = 2  # timed, after one that is not
_MOST_SIZES, _FEW_STEPS = 8, 2  # tried, of a model that may change them


def run(config: DictConfig) -> int:
    device = likely_device(config.engine)
    found = wanted(config, device)
    warn(found)
    store = open_store(found.store)
    if found.store.is_remote:
        store.check(writing=False)  # a folder need not be there yet
    _write_prompts(found)
    settle_here(found, device)
    renderer = load_renderer(renderer_specs(found, device)[0])
    cost = _probe(found, renderer)
    _warn_of_sizes(found, renderer)
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


def _probe(found: Wanted, renderer: Renderer) -> _Cost | None:
    """From real batches of the dataset's first valid prompts; None where the first rows hold none."""
    batch = _first_batch(found)
    if not batch:
        return None
    (only,) = found.cells
    requests = [sample.request for sample in batch]
    renderer.render(requests)
    started = time.perf_counter()
    for _ in range(_PROBE_BATCHES):
        images = renderer.render(requests)
    # A short batch costs what a full one does.
    seconds = (time.perf_counter() - started) / _PROBE_BATCHES / renderer.info.batch_size
    pairs = [(request, image.pixels) for request, image in zip(requests, images, strict=True)]
    output, model = found.run_info().output, only.cell.model
    sizes = [len(encode_image(request, pixels, model, output).data) for request, pixels in pairs if pixels is not None]
    return _Cost(seconds, sum(sizes) / max(1, len(sizes)))


def _warn_of_sizes(found: Wanted, renderer: Renderer) -> None:
    """Of the first rows: what no file can hold, and, of a model that may change sizes, what it makes of them."""
    for fault in dict.fromkeys(fault for sample in _first_samples(found) if (fault := _fault(found, sample))):
        print(f"warning: {fault}, or these rows will fail", file=sys.stderr)
    if renderer.info.keeps_size:
        return
    samplings = {(item.height, item.width): item for item in (each.request.sampling for each in _storable(found))}
    for (height, width), sampling in list(samplings.items())[:_MOST_SIZES]:
        few = replace(sampling, num_inference_steps=min(_FEW_STEPS, sampling.num_inference_steps))
        made = _size_made(renderer, few)
        if made != f"{width}x{height}":
            print(f"warning: the model makes {made} of {width}x{height}; records will say so", file=sys.stderr)


def _size_made(renderer: Renderer, sampling: Sampling) -> str:
    """Width and height of what a request becomes, or why it becomes nothing."""
    try:
        [image] = renderer.render([ImageRequest("size", "a photograph", 0, sampling)])
    except Exception as error:  # pipelines raise what they like for a size that they do not take
        return f"an error ({error})"
    if image.pixels is None:
        return f"an error ({image.error})"
    height, width = image.pixels.shape[:2]
    return f"{width}x{height}"


def _first_batch(found: Wanted) -> Sequence[Sample]:
    size = found.config.engine.batch_size
    return next(batches(islice(_storable(found), size), size), ())


def _storable(found: Wanted) -> Iterator[Sample]:
    return (sample for sample in _first_samples(found) if not _fault(found, sample))


def _fault(found: Wanted, sample: Sample) -> str | None:
    sampling = sample.request.sampling
    return size_fault(found.config.output.image_format.value, sampling.height, sampling.width)


def _first_samples(found: Wanted) -> Iterator[Sample]:
    """Of the first block's valid rows."""
    run_info, (only,) = found.run_info(), found.cells
    for row in next(found.dataset.blocks(0)).rows:
        if not row.error:
            yield from samples(row, only.cell, run_info.seed, run_info.num_images_per_prompt)


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
