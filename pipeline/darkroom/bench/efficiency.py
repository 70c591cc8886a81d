"""How much of the bare loop's speed is left from the prompt file to committed shards, and what padding takes of it."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from darkroom.bench.darkroom_run import MakeWorker, local_dispatcher, ray_dispatcher, render_job, steady
from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.script import WarmPool
from darkroom.bench.work import BATCH_SIZE, Work, demo_work, requests
from darkroom.domain.records import ImageRequest
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.worker import Worker
from darkroom.rendering.pretrained import load_pipeline
from darkroom.rendering.renderer import RenderedImage, Renderer, RendererSpec, load_renderer
from darkroom.storage.store import open_store

_SHARD_SIZE = 64  # what engine.shard_size=auto is for so few images
_BATCHES = 37  # whole ones; and a short one at the end
_SHORT = 3  # images in that
_IMAGES_A_WORKER = 160
_REACH = Reach(0.93)
_ONE_SHAPE, _FREE_SHAPES = "one shape", "free shapes"


class BareLoop:
    """A loaded model with its text and noise at hand: no reading, text encoding, pixels, files or records."""

    def __init__(self, work: Work) -> None:
        sampling = work.sampling
        loaded = load_pipeline(work.renderer)  # as a worker has it, threads and patches included
        self._pipe, self._patches = loaded.pipe, loaded.patches
        pipe = loaded.pipe
        self._sampling = sampling
        self._batch_size = work.batch_size
        self._text = self._encoded([request.prompt for request in requests(work)[: work.batch_size]])
        side = pipe.vae_scale_factor
        shape = (work.batch_size, pipe.unet.config.in_channels, sampling.height // side, sampling.width // side)
        self._noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(pipe.device, pipe.dtype)
        self.batch()

    def timing(self, num_batches: int) -> Timing:
        started = time.perf_counter()
        for _ in range(num_batches):
            self.batch()
        return Timing(num_batches * self._batch_size, time.perf_counter() - started)

    @torch.inference_mode()
    def batch(self) -> torch.Tensor:
        """(N, 3, H, W) float32 on the CPU, so that a device has ended its work."""
        pipe, guidance = self._pipe, self._sampling.guidance_scale
        scheduler = pipe.scheduler
        scheduler.set_timesteps(self._sampling.num_inference_steps)
        latents = self._noise * scheduler.init_noise_sigma
        with self._patches.around_call(self._sampling, self._batch_size):
            for step in scheduler.timesteps:
                both = scheduler.scale_model_input(torch.cat([latents, latents]), step)
                rows = pipe.unet(both, step, encoder_hidden_states=self._text, return_dict=False)[0]
                without, with_text = rows.chunk(2)
                noise = without + guidance * (with_text - without)
                latents = scheduler.step(noise, step, latents, return_dict=False)[0]
        return pipe.vae.decode(latents / pipe.vae.config.scaling_factor, return_dict=False)[0].float().cpu()

    @torch.inference_mode()
    def _encoded(self, prompts: list[str]) -> torch.Tensor:
        """Negative ones first."""
        texts, negatives = self._pipe.encode_prompt(prompts, self._pipe.device, 1, True)
        return torch.cat([negatives, texts])


def local(setting: Setting) -> list[Figure]:
    """One worker in this process."""
    work = demo_work(setting, setting.sized(_IMAGES_A_WORKER, 24))

    def darkroom(folder: Path) -> Timing:
        return steady(render_job(work, folder, local_dispatcher).commits)

    with WarmPool(1, partial(BareLoop, work)) as pool:
        timings = alternated(setting, {"darkroom": darkroom, "bare loop": lambda _: _bare(pool, work, 1)})
    return [_figure("pipeline_efficiency_local", "one worker in process", work, timings, 1)]


def on_ray(setting: Setting) -> list[Figure]:
    """As many workers as there are cores, or GPUs; the bare loop runs in as many processes at once."""
    from darkroom.engine import cluster

    size = setting.num_workers
    work = demo_work(setting, size * setting.sized(_IMAGES_A_WORKER, 24))

    def darkroom(folder: Path) -> Timing:
        return steady(render_job(work, folder, ray_dispatcher(folder, size, setting.device)).commits)

    cluster.start(None, size)
    try:
        with WarmPool(size, partial(BareLoop, work)) as pool:
            timings = alternated(setting, {"darkroom": darkroom, "bare loop": lambda _: _bare(pool, work, size)})
    finally:
        cluster.stop()
    return [_figure("pipeline_efficiency_ray", f"{size} worker(s) on Ray", work, timings, size)]


def _bare(pool: WarmPool, work: Work, size: int) -> Timing:
    """The processes' rates, added up."""
    parts = pool.call(BareLoop.timing, max(1, work.num_images // work.batch_size // size))
    count = sum(part.count for part in parts)
    return Timing(count, count / sum(part.rate for part in parts))


def _figure(name: str, how: str, work: Work, timings: dict[str, list[Timing]], num_workers: int) -> Figure:
    return Figure(
        name=name,
        what=f"images/s from prompt file to committed shards over those of denoise and decode alone, {how}",
        unit="",
        values=ratios(timings["darkroom"], timings["bare loop"]),
        reach=_REACH,
        timings=timings,
        settings={**work.said, "workers": num_workers, "threads": 1 if work.device == "cpu" else None},
    )


class FreeShapes:
    """Renders batches in the shape that they have; holds the small model once for each."""

    def __init__(self, spec: RendererSpec) -> None:
        self._spec = spec
        self._by_size: dict[int, Renderer] = {}
        self.info = self._of(spec.batch_size).info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return self._of(len(requests)).render(requests)

    def _of(self, size: int) -> Renderer:
        if size not in self._by_size:
            self._by_size[size] = load_renderer(replace(self._spec, batch_size=size))
        return self._by_size[size]


class InTurns:
    """Renders every batch both ways, one first and then the other, and keeps how long each has taken."""

    def __init__(self, ways: Mapping[str, Renderer]) -> None:
        self._ways = dict(ways)
        self.info = self._ways[_ONE_SHAPE].info
        self.seconds = dict.fromkeys(ways, 0.0)

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        images = {name: self._timed(name, requests) for name in self._ways}
        self._ways = dict(reversed(self._ways.items()))
        return images[_ONE_SHAPE]

    def _timed(self, name: str, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        started = time.perf_counter()
        images = self._ways[name].render(requests)
        self.seconds[name] += time.perf_counter() - started
        return images


def invariance_tax(setting: Setting) -> list[Figure]:
    """One worker in this process, both ways in turns: so small a difference would drown in the machine's drift."""
    num_images = setting.sized(_BATCHES, 2) * BATCH_SIZE + _SHORT
    work = replace(demo_work(setting, num_images), shard_size=_SHARD_SIZE)
    repeats = [_seconds(setting, work, repeat) for repeat in range(setting.num_repeats)]
    timings = {name: [Timing(num_images, each[name]) for each in repeats] for name in (_ONE_SHAPE, _FREE_SHAPES)}
    return [
        Figure(
            name="invariance_tax",
            what=f"time of {num_images} images, the last batch of {_SHORT} padded to {BATCH_SIZE}, over that without",
            unit="%",
            values=[100 * (ratio - 1) for ratio in ratios(timings[_FREE_SHAPES], timings[_ONE_SHAPE])],
            reach=Reach(3, at_least=False),
            timings=timings,
            settings=work.said,
        )
    ]


def _seconds(setting: Setting, work: Work, repeat: int) -> dict[str, float]:
    """In the renderers, new ones that are warm; what comes after them is the same."""
    ways = {_ONE_SHAPE: load_renderer(work.renderer), _FREE_SHAPES: FreeShapes(work.renderer)}
    warm = requests(replace(work, seed=1))[:BATCH_SIZE]  # other noise; both cache the first prompts' embeddings
    for way in ways.values():
        way.render(warm)
        way.render(warm[:_SHORT])
    renderer = InTurns(ways)

    def make(spec: WorkerSpec) -> MakeWorker:
        store = open_store(spec.store)
        return lambda: Worker(spec.run, lambda _: renderer, work.model.identity, store)

    render_job(work, setting.folder / f"turns-{repeat}", local_dispatcher, make)
    setting.say("  " + ", ".join(f"{name}: {seconds:.2f} s" for name, seconds in renderer.seconds.items()))
    return renderer.seconds
