"""Deep features of a UNet, kept over some steps: fewer layers to compute, and another picture.

"DeepCache: Accelerating Diffusion Models for Free" (Ma, Fang and Wang, CVPR 2024), with uniform intervals and the
shallowest branch: between two whole calls the outermost layers alone are computed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_LAYERS = ("resnets", "attentions", "downsamplers", "upsamplers")


class StepCache:
    """Put over a UNet2DConditionModel; does nothing but within `every`."""

    def __init__(self, unet: Any) -> None:
        self._is_on = False
        self._is_whole = True  # whether this call of the UNet computes all of it
        self._num_calls = 0
        self._num_rows: int | None = None  # of what is kept
        self._kept: dict[int, Any] = {}
        for number, layer in enumerate(deep_layers(unet)):
            layer.forward = self._keeping(number, layer.forward)

    @contextmanager
    def every(self, interval: int, unet: Any) -> Iterator[None]:
        """Within, of so many calls of the UNet (compiled or not) the first is whole; where it is 1, all are."""
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
            self._kept.clear()

    def _count(self, interval: int, num_rows: int) -> None:
        """Before each call. Where guidance begins or ends, rows come and go, and what is kept fits no more."""
        self._is_whole = self._num_calls % interval == 0 or num_rows != self._num_rows
        self._num_calls = 1 if self._is_whole else self._num_calls + 1
        self._num_rows = num_rows

    def _keeping(self, number: int, forward: Callable[..., Any]) -> Callable[..., Any]:
        def new_or_kept(*args: Any, **kwargs: Any) -> Any:
            if not self._is_on:
                return forward(*args, **kwargs)
            if self._is_whole:
                self._kept[number] = forward(*args, **kwargs)
            return self._kept[number]

        return new_or_kept


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
    return [layer for layer in getattr(block, name, None) or () if layer is not None]
