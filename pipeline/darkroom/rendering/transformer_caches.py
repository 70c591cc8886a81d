"""Caches of diffusers for transformers: some steps compute fewer layers, from what earlier steps gave.

`taylorseer` predicts what attention gives in a step from the last steps that were computed, `taylorseer_lite` what the
whole transformer gives, of which no block is computed then ("From Reusing to Forecasting: Accelerating Diffusion Models
with TaylorSeers", Liu et al., ICCV 2025). `pyramid_attention_broadcast` gives attention's last result again ("Real-Time
Video Generation with Pyramid Attention Broadcast", Zhao et al., ICLR 2025). Which steps are computed depends on their
number and timestep alone, so an image depends on no neighbour: caches that decide by a batch's mean are not here.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from typing import Any

from diffusers import PyramidAttentionBroadcastConfig, TaylorSeerCacheConfig
from diffusers.hooks.pyramid_attention_broadcast import (
    _PYRAMID_ATTENTION_BROADCAST_HOOK,
    PyramidAttentionBroadcastState,
)

from darkroom.domain.settings import NONE

_NUM_TERMS, _TERMS_DTYPE = 2, "bfloat16"  # of Taylor's series, by diffusers' `max_order` and `taylor_factors_dtype`


def config_of_cache(cache: str, interval: int, timestep: Callable[[], float]) -> Any:
    """diffusers' configuration of a cache by Darkroom's name, with one of `interval` steps computed whole."""
    if cache == "pyramid_attention_broadcast":
        return PyramidAttentionBroadcastConfig(
            spatial_attention_block_skip_range=interval, current_timestep_callback=timestep
        )
    return TaylorSeerCacheConfig(cache_interval=interval, use_lite_mode=cache == "taylorseer_lite")


def cached_numbers(transformer: Any, cache: str, num_tokens: int, num_text: int) -> int:
    """How many numbers are kept of one image, of so many tokens, and of as many of its text, in one branch of guidance:
    the outputs of the layers that are cached, and how they change."""
    if cache == "taylorseer_lite":
        return num_tokens * transformer.proj_out.out_features * _NUM_TERMS
    transformer.enable_cache(config_of_cache(cache, 2, float))
    registries = [getattr(module, "_diffusers_hook", None) for module in transformer.modules()]
    num_layers = sum(bool(each and each.hooks) for each in registries)
    transformer.disable_cache()
    width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
    return (num_tokens + num_text) * width * num_layers * (_NUM_TERMS if cached_dtype(cache) else 1)


def cached_dtype(cache: str) -> str | None:
    """What they are kept in; None: what the model computes with."""
    return _TERMS_DTYPE if cache.startswith("taylorseer") else None


@contextmanager
def cached_steps(pipe: Any, cache: str, interval: int) -> Iterator[None]:
    """Inside, one call of the pipeline is made with the cache, which begins and ends empty; none with `none`."""
    if cache == NONE:
        yield
        return
    transformer, steps = pipe.transformer, _Steps(pipe.scheduler)
    transformer.enable_cache(config_of_cache(cache, interval, steps.timestep))
    branches = _Branches(transformer)
    hook = transformer.register_forward_pre_hook(lambda *_: branches.enter(steps.next_call()))
    try:
        with steps.counted():
            yield
    finally:
        hook.remove()
        branches.leave()
        transformer.disable_cache()


class _Steps:
    """Where a pipeline's loop is, by the calls of its scheduler."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._number = 0  # of the step
        self._num_calls = 0  # of the transformer, in this step
        self._timesteps: list[float] = []  # once the pipeline has set them

    @contextmanager
    def counted(self) -> Iterator[None]:
        step = self._scheduler.step

        @wraps(step)
        def counting(*args: Any, **kwargs: Any) -> Any:
            self._number, self._num_calls = self._number + 1, 0
            return step(*args, **kwargs)

        self._scheduler.step = counting
        try:
            yield
        finally:
            del self._scheduler.step

    def next_call(self) -> int:
        """The number of this call of the transformer in its step: of one branch of guidance, or of all at once."""
        self._num_calls += 1
        return self._num_calls - 1

    def timestep(self) -> float:
        """Of the step, on the host: diffusers' own is on the device, which each layer would wait for."""
        self._timesteps = self._timesteps or self._scheduler.timesteps.tolist()
        return self._timesteps[min(self._number, len(self._timesteps) - 1)]


class _Branches:
    """Keeps what calls of the two branches of guidance cache apart.

    diffusers does so for TaylorSeer alone, and of it in those pipelines alone that name their branches.
    """

    def __init__(self, transformer: Any) -> None:
        self._transformer = transformer
        self._context = ExitStack()
        registries = (getattr(module, "_diffusers_hook", None) for module in transformer.modules())
        found = (each.get_hook(_PYRAMID_ATTENTION_BROADCAST_HOOK) for each in registries if each)
        self._hooks = [hook for hook in found if hook]
        self._states: dict[int, list[PyramidAttentionBroadcastState]] = {}

    def enter(self, branch: int) -> None:
        self.leave()
        self._context.enter_context(self._transformer.cache_context(str(branch)))
        if branch not in self._states:
            self._states[branch] = [PyramidAttentionBroadcastState() for _ in self._hooks]
        for hook, state in zip(self._hooks, self._states[branch], strict=True):
            hook.state = state

    def leave(self) -> None:
        self._context.close()
