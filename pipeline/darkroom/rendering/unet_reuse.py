"""Two ways to compute less in the calls of a UNet2DConditionModel, by wrapping its layers.

`SharedWork` computes once what a guided call would compute twice, or once more in every step: both branches of guidance
start from the same latents, so all layers before the first that reads the text give both the same result; all rows are
at the same timestep; and the text's keys and values are the same in every step. Pixels stay equal up to the order of
sums.

`StepCache` reuses the deep features over some steps: fewer layers to compute, and another picture. "DeepCache:
Accelerating Diffusion Models for Free" (Ma, Fang and Wang, CVPR 2024), with uniform intervals and the shallowest
branch: between two full calls the outermost layers alone are computed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

_LAYERS = ("resnets", "attentions", "downsamplers", "upsamplers")


class SharedWork:
    """Wraps layers of a UNet2DConditionModel; they share work inside `during` only.

    There a text is recognized by its tensor object, which must not be changed, and its keys and values stay in memory.
    """

    def __init__(self, unet: Any) -> None:
        self._num_images = 0
        self.projections: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # text layer's number -> (text, output)
        if _is_time_without_text(unet):
            for layer in layers_before_text(unet):
                layer.forward = self._for_one_branch(layer.forward)
            for layer in time_layers(unet):
                layer.forward = self._for_one_row(layer.forward)
        for number, layer in enumerate(text_layers(unet)):
            layer.forward = self._once_per_text(number, layer.forward)

    @contextmanager
    def during(self, num_images: int) -> Iterator[None]:
        """Inside, a UNet call with two rows an image has them in two halves that differ in their text alone."""
        self._num_images = num_images
        try:
            yield
        finally:
            self._num_images = 0
            self.projections.clear()

    def _for_one_branch(self, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def for_one_branch(*args: Any, **kwargs: Any) -> torch.Tensor:
            if len(args[0]) != 2 * self._num_images or any(value is not None for value in kwargs.values()):
                return forward(*args, **kwargs)
            half = forward(*[value[: self._num_images] for value in args])
            return torch.cat([half, half])

        return for_one_branch

    def _for_one_row(self, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def for_one_row(time: torch.Tensor) -> torch.Tensor:
            if not self._num_images:
                return forward(time)
            if (time == time[:1]).all():
                return _to_rows(forward(time[:1]), len(time))
            # LoRAs of each image change it: one row at a time, as where all rows are alike.
            rows = [forward(time[place : place + 1]) for place in range(self._num_images)]
            return _to_rows(torch.cat([_row_of(row, place) for place, row in enumerate(rows)]), len(time))

        return for_one_row

    def _once_per_text(self, number: int, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def once_per_text(text: torch.Tensor) -> torch.Tensor:
            if not self._num_images:
                return forward(text)
            if number not in self.projections or self.projections[number][0] is not text:
                self.projections[number] = text, forward(text)
            return self.projections[number][1]

        return once_per_text


def _to_rows(found: torch.Tensor, num_rows: int) -> torch.Tensor:
    """One row, or one for each image where they have LoRAs of their own, as those of all branches."""
    return found.expand(num_rows, -1) if len(found) == 1 else found.repeat(num_rows // len(found), 1)


def _row_of(found: torch.Tensor, place: int) -> torch.Tensor:
    return found if len(found) == 1 else found[place : place + 1]


def _is_time_without_text(unet: Any) -> bool:
    """Whether the time embedding is free of the text; SDXL's contains the pooled one."""
    return all(getattr(unet, name, None) is None for name in ("add_embedding", "class_embedding"))


def layers_before_text(unet: Any) -> list[Any]:
    """Layers that are computed before the first that reads the text, in their order."""
    layers = [unet.conv_in]
    for block in unet.down_blocks:
        if type(block).__name__ != "DownBlock2D":
            return layers + (_before_text(block) if type(block).__name__ == "CrossAttnDownBlock2D" else [])
        layers += [*layers_of(block, "resnets"), *layers_of(block, "downsamplers")]
    return layers


def _before_text(block: Any) -> list[Any]:
    """The first layers of a block that reads text, up to the first attention of the image to itself."""
    transformer = block.attentions[0]
    inner = list(getattr(transformer, "transformer_blocks", []))[:1]
    first = [layer for each in inner for layer in (transformer.norm, transformer.proj_in, each.norm1, each.attn1)]
    return [block.resnets[0], *first]


def text_layers(unet: Any) -> list[Any]:
    """Linear layers that project the text to keys and values: (N, tokens, width) to (N, tokens, features)."""
    attentions = [module for name, module in unet.named_modules() if name.endswith(".attn2")]
    return [layer for attention in attentions for layer in (attention.to_k, attention.to_v)]


def time_layers(unet: Any) -> list[Any]:
    """Linear layers that project the time embedding for each residual block: (N, width) to (N, channels)."""
    return [module for name, module in unet.named_modules() if name.endswith(".time_emb_proj")]


class StepCache:
    """Wraps the deep layers of a UNet2DConditionModel; they reuse features inside `during` only."""

    def __init__(self, unet: Any) -> None:
        self.features: dict[int, Any] = {}  # deep layer's number -> what it gave in the last full call
        self._is_on = False
        self._is_copied = False  # whether the UNet changes in place what its layers give, as FreeU does
        self._is_full = True  # whether this call of the UNet computes all layers
        self._num_calls = 0  # since the last full one, that one included
        self._num_rows: int | None = None  # of the cached features
        for number, layer in enumerate(deep_layers(unet)):
            layer.forward = self._caching(number, layer.forward)

    @contextmanager
    def during(self, interval: int, unet: Any, is_copied: bool = False) -> Iterator[None]:
        """Inside, one of every `interval` calls of the UNet (compiled or not) is full, the first one on.

        `is_copied`: the UNet changes in place what its layers give, so that they give copies of what is kept.
        """
        if interval == 1:
            yield
            return
        hook = unet.register_forward_pre_hook(lambda _, inputs: self._count(interval, len(inputs[0])))
        self._is_on, self._is_copied, self._num_calls, self._num_rows = True, is_copied, 0, None
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
            return _copied(self.features[number]) if self._is_copied else self.features[number]

        return computed_or_cached


def _copied(features: Any) -> Any:
    """Of a tensor, or of a tuple of some."""
    return tuple(map(_copied, features)) if isinstance(features, tuple) else features.clone()


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
