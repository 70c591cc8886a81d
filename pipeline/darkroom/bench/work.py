"""The job that a figure's variants all do, and the batch size at which each of them is fastest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from darkroom.bench.dit import DIT_SIDE, dit_model
from darkroom.bench.figure import Setting, Timing
from darkroom.demo import MODEL_FOLDER
from darkroom.demo.world import random_scene
from darkroom.domain.identity import Cell
from darkroom.domain.records import ImageRequest, samples
from darkroom.domain.settings import ModelRef, Sampling
from darkroom.engine.spec import best_size, measured_rates
from darkroom.prompts.opening import open_prompts
from darkroom.rendering.backends import AUTO, backend_of
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.inspection import inspect_model
from darkroom.rendering.renderer import RendererSpec

BATCH_SIZE = 8
_RUN_SEED = 0
_STEPS = 20
_SCALES = (2.0, 3.5, 5.0, 7.0)
_IMAGES_A_WORKER = 240  # where Darkroom is compared with others
_DIT_IMAGES_A_WORKER = 64


@dataclass(frozen=True)
class Work:
    """A prompt file and how to render it; small and picklable."""

    prompts: Path  # Parquet
    num_images: int  # one a prompt
    model: InspectedModel
    sampling: Sampling
    device: str
    batch_size: int = BATCH_SIZE
    shard_size: int = BATCH_SIZE
    seed: int = _RUN_SEED
    compile: bool = False
    backend: str = AUTO

    @property
    def cell(self) -> Cell:
        return Cell(self.model.identity, self.sampling)

    @property
    def renderer(self) -> RendererSpec:
        backend = backend_of(self.backend, self.model, self.device, self.compile)
        return RendererSpec(self.model, self.device, self.batch_size, self.compile, backend)

    @property
    def said(self) -> dict[str, object]:
        """What to state beside a figure."""
        sampling = self.sampling
        return {
            "model": self.model.identity.repo_id,
            "images": self.num_images,
            "num_inference_steps": sampling.num_inference_steps,
            "guidance_scale": sampling.guidance_scale,
            "size": f"{sampling.width}x{sampling.height}",
            "dtype": self.model.identity.dtype,
            "device": self.device,
            "backend": self.renderer.backend,
            "batch_size": self.batch_size,
            "shard_size": self.shard_size,
        }


def demo_work_to_compare(setting: Setting) -> Work:
    """What Darkroom and others do with all workers: captions, with the embedded model."""
    return demo_work(setting, setting.num_workers * setting.sized(_IMAGES_A_WORKER, 24))


def demo_work(setting: Setting, num_images: int) -> Work:
    """The embedded model on captions of its world; a small scale takes fewer steps too."""
    model = inspect_model(ModelRef(str(MODEL_FOLDER), dtype="float32"), setting.device)
    model = replace(model, identity=replace(model.identity, repo_id="darkroom/demo"))
    sampling = Sampling("default", 5.0, min(_STEPS, setting.sized(_STEPS, 2)), model.height or 64, model.width or 64)
    prompts = write_prompts(setting.folder / f"prompts-{num_images}.parquet", captions(num_images))
    return Work(prompts, num_images, model, sampling, setting.device)


def dit_work_to_compare(setting: Setting) -> Work:
    """The same with a small Stable Diffusion 3 of random weights, on rows of different guidance and negative prompts.

    Every fourth row has its prompt from an earlier one, every third a negative prompt, and there are four scales.
    """
    num_images = setting.num_workers * setting.sized(_DIT_IMAGES_A_WORKER, 24)
    model = inspect_model(ModelRef(str(dit_model(setting.folder / "dit")), dtype="float32"), setting.device)
    model = replace(model, identity=replace(model.identity, repo_id="a small Stable Diffusion 3 of random weights"))
    sampling = Sampling("default", 5.0, min(_STEPS, setting.sized(_STEPS, 2)), DIT_SIDE, DIT_SIDE)
    different = captions(num_images)
    rows = {
        "prompt": [different[row // 2 if row % 4 == 3 else row] for row in range(num_images)],
        "negative_prompt": ["blurred" if row % 3 == 0 else "" for row in range(num_images)],
        "guidance_scale": [_SCALES[row % len(_SCALES)] for row in range(num_images)],
    }
    path = setting.folder / f"mixed-{num_images}.parquet"
    pq.write_table(pa.table(rows), path)
    return Work(path, num_images, model, sampling, setting.device)


def captions(count: int) -> list[str]:
    """All different: a repeated prompt would be encoded once."""
    rng = np.random.default_rng(0)
    found: dict[str, None] = {}
    while len(found) < count:
        found[random_scene(rng).caption()] = None
    return list(found)


def write_prompts(path: Path, prompts: Sequence[str]) -> Path:
    pq.write_table(pa.table({"prompt": list(prompts)}), path)
    return path


def requests(work: Work) -> list[ImageRequest]:
    """What Darkroom would ask its renderer for: what other ways are given too, so that their pixels can be compared."""
    blocks = open_prompts(str(work.prompts)).blocks(0)
    rows = [row for block in blocks for row in block.rows]
    return [sample.request for row in rows for sample in samples(row, work.cell, work.seed, 1)]


def tuned(
    setting: Setting, sizes: Sequence[int], timing_of: Callable[[int], Timing]
) -> tuple[int, Mapping[int, float]]:
    """(the best size, size -> things a second)."""
    rates = {size: timing_of(size).rate for size in sizes}
    setting.say("  tuned: " + ", ".join(f"batch {size}: {rate:.3g}/s" for size, rate in rates.items()))
    return max(rates, key=rates.__getitem__), rates


def with_best_batch_size(setting: Setting, work: Work) -> Work:
    """The same in batches, and shards, of the size that `engine.batch_size=auto` finds."""
    rates = measured_rates(work.renderer, work.sampling)
    setting.say("  auto: " + ", ".join(f"batch {size}: {rate:.3g}/s" for size, rate in rates.items()))
    size = best_size(rates)
    return replace(work, batch_size=size, shard_size=size)
