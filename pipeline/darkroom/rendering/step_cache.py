"""Reuse a UNet's deep features over some steps: fewer layers to compute, and another picture.

"DeepCache: Accelerating Diffusion Models for Free" (Ma, Fang and Wang, CVPR 2024), with uniform intervals and the
shallowest branch: between two full calls the outermost layers alone are computed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LAYERS = ("resnets", "attentions", "downsamplers", "upsamplers")


class StepCache:
    """Wraps the deep layers of a UNet2DConditionModel; they reuse features inside `during` only."""

    def __init__(self, unet: Any) -> None:
        self.features: dict[int, Any] = {}  # deep layer's number -> what it gave in the last full call
        self._is_on = False
        self._is_full = True  # whether this call of the UNet computes all layers
        self._num_calls = 0  # since the last full one, that one included
        self._num_rows: int | None = None  # of the cached features
        for number, layer in enumerate(deep_layers(unet)):
            layer.forward = self._caching(number, layer.forward)

    @contextmanager
    def during(self, interval: int, unet: Any) -> Iterator[None]:
        """Inside, one of every `interval` calls of the UNet (compiled or not) is full, the first one on."""
        if interval == 1:
            yield
            return
        hook = unet.register_forward_pre_hook(lambda _, inputs: self._count(interval, len(inputs[0])))
        self._is_on, self._num_calls, self._num_rows = True, 0, None
        try:
            yield
        finally:
            hook.remove()
            self._is_on = False
            self.features.clear()

    def _count(self, interval: int, num_rows: int) -> None:
        """Decide, before each call, whether it is full: also where guidance starts or stops, which changes the rows."""
        self._is_full = self._num_calls % interval == 0 or num_rows != self._num_rows
        self._num_calls = 1 if self._is_full else self._num_calls + 1
        self._num_rows = num_rows

    def _caching(self, number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def computed_or_cached(*args: Any, **kwargs: Any) -> Any:
            if not self._is_on:
                return forward(*args, **kwargs)
            if self._is_full:
                self.features[number] = forward(*args, **kwargs)
            return self.features[number]

        return computed_or_cached


def deep_layers(unet: Any) -> list[Any]:
    """All layers of the blocks but the outermost: the first going down, the last two going up."""
    first, last = unet.down_blocks[0], unet.up_blocks[-1]
    outermost = {
        id(layer) for name in _LAYERS[:2] for layer in (*layers_of(first, name)[:1], *layers_of(last, name)[-2:])
    }
    blocks = (*unet.down_blocks, *([unet.mid_block] if unet.mid_block else []), *unet.up_blocks)
    layers = [layer for block in blocks for name in _LAYERS for layer in layers_of(block, name)]
    return [layer for layer in layers if id(layer) not in outermost]


def layers_of(block: Any, name: str) -> list[Any]:
    """A UNet block's layers of one kind, such as its resnets; none where the block has no such kind."""
    return [layer for layer in getattr(block, name, None) or () if layer is not None]
