"""What a guided call would compute twice, or in every step anew, computed once. For UNets of Stable Diffusion's kind.

Both branches of guidance begin with the same latents, so all layers before the first that reads the text give both the
same; all rows are at the same time; and the text's keys and values are the same in every step.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch

from darkroom.rendering.spec import RendererSpec
from darkroom.rendering.step_cache import layers_of


def sharing(unet: Any, spec: RendererSpec) -> Callable[[int], AbstractContextManager[Any]]:
    """Called with the number of images: within what to call a UNet. Shares nothing where that was not measured."""
    return SharedWork(unet).of if spec.device == "cpu" and not spec.compile else nullcontext


class SharedWork:
    """Put over a UNet2DConditionModel; does nothing but within `of`.

    There a text is known by its object, which must not be changed, and its keys and values stay in memory.
    """

    def __init__(self, unet: Any) -> None:
        self._num_images = 0
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}  # number of a layer -> (text, what it made of it)
        if _is_time_without_text(unet):
            for layer in layers_before_text(unet):
                layer.forward = self._of_one_half(layer.forward)
            for layer in time_layers(unet):
                layer.forward = self._of_one_row(layer.forward)
        for number, layer in enumerate(text_layers(unet)):
            layer.forward = self._of_each_text_once(number, layer.forward)

    @contextmanager
    def of(self, num_images: int) -> Iterator[None]:
        """Within, a call of the UNet with two rows an image has them in two halves that differ in their text alone."""
        self._num_images = num_images
        try:
            yield
        finally:
            self._num_images = 0
            self._kept.clear()

    def _of_one_half(self, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def of_one_half(*args: Any, **kwargs: Any) -> torch.Tensor:
            if len(args[0]) != 2 * self._num_images or any(value is not None for value in kwargs.values()):
                return forward(*args, **kwargs)
            half = forward(*[value[: self._num_images] for value in args])
            return torch.cat([half, half])

        return of_one_half

    def _of_one_row(self, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def of_one_row(time: torch.Tensor) -> torch.Tensor:
            return forward(time[:1]).expand(len(time), -1) if self._num_images else forward(time)

        return of_one_row

    def _of_each_text_once(self, number: int, forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        def of_each_text_once(text: torch.Tensor) -> torch.Tensor:
            if not self._num_images:
                return forward(text)
            if number not in self._kept or self._kept[number][0] is not text:
                self._kept[number] = text, forward(text)
            return self._kept[number][1]

        return of_each_text_once


def _is_time_without_text(unet: Any) -> bool:
    """SDXL's has the pooled text in it."""
    return all(getattr(unet, name, None) is None for name in ("add_embedding", "class_embedding"))


def layers_before_text(unet: Any) -> list[Any]:
    """In their order."""
    layers = [unet.conv_in]
    for block in unet.down_blocks:
        if type(block).__name__ != "DownBlock2D":
            return layers + (_before_text(block) if type(block).__name__ == "CrossAttnDownBlock2D" else [])
        layers += [*layers_of(block, "resnets"), *layers_of(block, "downsamplers")]
    return layers


def _before_text(block: Any) -> list[Any]:
    """Of a block that reads text: its first layers, up to the first attention of the image to itself."""
    transformer = block.attentions[0]
    inner = list(getattr(transformer, "transformer_blocks", []))[:1]
    first = [layer for each in inner for layer in (transformer.norm, transformer.proj_in, each.norm1, each.attn1)]
    return [block.resnets[0], *first]


def text_layers(unet: Any) -> list[Any]:
    """Those that make keys and values of the text."""
    attentions = [module for name, module in unet.named_modules() if name.endswith(".attn2")]
    return [layer for attention in attentions for layer in (attention.to_k, attention.to_v)]


def time_layers(unet: Any) -> list[Any]:
    """Those that make of the time's embedding what each block adds."""
    return [module for name, module in unet.named_modules() if name.endswith(".time_emb_proj")]
