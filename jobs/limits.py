"""Between which values every number of a configuration lies, whichever job it is of."""

import math
from collections.abc import Mapping

from omegaconf import DictConfig, OmegaConf

from darkroom.domain.errors import DarkroomError

AUTO = "auto"
MAX_SIDE = 16384  # pixels
_MAX_BATCH_SIZE = 4096
_MANY = 1_000_000_000
_SEED = (0, 2**63 - 1)
LIMITS: Mapping[str, tuple[float, float]] = {
    "sampling.guidance_scale": (0, 1000),
    "sampling.num_inference_steps": (1, 10_000),
    "sampling.guidance_start": (0, 1),
    "sampling.guidance_stop": (0, 1),
    "sampling.cache_interval": (1, 1000),
    "sampling.num_images_per_prompt": (1, 1_000_000),
    "sampling.height": (8, MAX_SIDE),
    "sampling.width": (8, MAX_SIDE),
    "sampling.seed": _SEED,
    "output.quality": (1, 100),
    "engine.shard_size": (1, 1_000_000),
    "engine.max_attempts": (1, 100),
    "engine.num_workers": (1, 100_000),
    "engine.batch_timeout_s": (0.1, 1_000_000),
    "prompts.num_prompts": (1, _MANY),
    "prompts.seed": _SEED,
    "grid.num_cells": (1, _MANY),
    "grid.seed": _SEED,
    "halving.num_images": (2, _MANY),
    "halving.keep": (0, 1),
    "evaluation.seed": _SEED,
    "seed": _SEED,
    "num_images": (1, _MANY),
    "num_prompts": (1, _MANY),
    "num_threads": (1, 100_000),
    "num_captions": (1, _MANY),
    "num_repeats": (1, 1_000_000),
    "num_workers": (1, 100_000),
    "older_than_s": (0, 1e12),
    "tolerance": (0, 1e12),
    "scale": (0.0001, 1000),
}


def check_limits(config: DictConfig) -> None:
    """Raises DarkroomError for the first number out of its range; what is not given is not looked at."""
    if "engine" in config:
        _check_batch_size(config.engine.batch_size)
    for key, (low, high) in LIMITS.items():
        value = OmegaConf.select(config, key)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise DarkroomError(f"{key}={value} is out of range; give a number from {low} to {high}")


def _check_batch_size(value: object) -> None:
    """The schema takes anything here, since a number or a word may stand."""
    if value != AUTO and not (type(value) is int and 1 <= value <= _MAX_BATCH_SIZE):
        raise DarkroomError(
            f"engine.batch_size={value} is out of range; give a whole number from 1 to {_MAX_BATCH_SIZE}, or {AUTO}"
        )
