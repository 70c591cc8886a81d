"""The ceiling: denoise and decode, batch after batch, and nothing else. For models of Stable Diffusion's kind."""

import time

import torch

from darkroom.bench.figure import Timing
from darkroom.bench.work import Work, requests
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
