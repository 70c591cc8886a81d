"""A diffusers pipeline as anybody loads it, for the ways that Darkroom is measured against."""

from typing import Any

import torch

from darkroom.bench.work import Work


def plain_pipeline(work: Work) -> Any:
    """On its device, in its dtype, without a word."""
    import diffusers
    import transformers

    for library in (transformers, diffusers):
        library.utils.logging.set_verbosity_error()
        library.utils.logging.disable_progress_bar()
    dtype = getattr(torch, work.model.identity.dtype)
    pipe = diffusers.DiffusionPipeline.from_pretrained(work.model.source, dtype=dtype, use_safetensors=True)
    pipe.set_progress_bar_config(disable=True)
    return pipe.to(work.device)


def call(pipe: Any, work: Work, prompts: list[str], seeds: list[int]) -> list[Any]:
    """PIL images, with the noise that Darkroom gives them."""
    sampling = work.sampling
    return pipe(
        prompts,
        guidance_scale=sampling.guidance_scale,
        num_inference_steps=sampling.num_inference_steps,
        height=sampling.height,
        width=sampling.width,
        generator=[torch.Generator().manual_seed(seed) for seed in seeds],
    ).images
