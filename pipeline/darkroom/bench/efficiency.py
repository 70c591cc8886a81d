"""How much of the bare loop's speed is left from the prompt file to committed shards."""

import time
from functools import partial
from pathlib import Path

import torch

from darkroom.bench.darkroom_run import local_dispatcher, ray_dispatcher, render_job, steady
from darkroom.bench.figure import Figure, Reach, Setting, Timing, alternated, ratios
from darkroom.bench.script import WarmPool
from darkroom.bench.work import Work, demo_work, requests
from darkroom.rendering.pretrained import load_pipeline


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


_IMAGES_A_WORKER = 160
_REACH = Reach(0.93)


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
