"""Calls that make images from pictures, image to image, inpainting and by a ControlNet, by pipelines that share the
networks of the one that was loaded.

Which class serves which is a fact of `families.py`. Pixels that a mask keeps are copied from the picture at the end,
since no autoencoder gives back what it was given.
"""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import diffusers
import numpy as np
import torch

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import CONTROL, IMAGE, PICTURES
from darkroom.rendering.family import Family

_OF_SIZE = ("height", "width")  # which a call that takes none finds in its pictures


class PicturePipelines:
    """One for each task, made when it is first needed."""

    def __init__(self, pipe: Any, family: Family, controlnet: Any = None) -> None:
        self._pipe, self._family = pipe, family
        self._others = {} if controlnet is None else {"controlnet": controlnet}
        self._made: dict[str, Any] = {}

    def of(self, request: ImageRequest) -> Any:
        """The pipeline that renders it, with the scheduler and the text encoding of the one that was loaded."""
        name = self._family.task_class([each.name for each in request.pictures])
        assert name  # what has none is refused before a model is loaded
        if name not in self._made:
            self._made[name] = _sharing(self._pipe, getattr(diffusers, name), self._others)
        found = self._made[name]
        if hasattr(found, "scheduler"):
            found.scheduler = self._pipe.scheduler
        return found


def _sharing(pipe: Any, kind: Any, others: Mapping[str, Any]) -> Any:
    """A pipeline of another class of the same parts, and of those of `others` that it takes. `from_pipe` would cast all
    of them to one dtype."""
    expected, options = kind._get_signature_keys(kind)
    parts = {name: part for name, part in {**pipe.components, **others}.items() if name in expected}
    given = {name: value for name, value in pipe.config.items() if name in options and name not in parts}
    made = kind(**parts, **given)
    made.set_progress_bar_config(disable=True)
    own = vars(pipe).get("encode_prompt")  # that keeps what it has encoded
    if own is not None and _signature(kind.encode_prompt) == _signature(type(pipe).encode_prompt):
        made.encode_prompt = own
    return made


def _signature(function: Any) -> list[tuple[str, Any]]:
    return [(each.name, each.default) for each in inspect.signature(function).parameters.values()]


def with_pictures(pipe: Any, arguments: Mapping[str, Any], requests: Sequence[ImageRequest]) -> dict[str, Any]:
    """Arguments of a call of `pipe`, with the requests' pictures. Raises DarkroomError for one that it takes not."""
    taken = inspect.signature(type(pipe).__call__).parameters
    for name in arguments:
        if name not in taken and name not in _OF_SIZE:
            raise DarkroomError(f"{type(pipe).__name__} takes no {name}; leave it out")
    given = dict(_pictures(requests))
    if CONTROL in given and CONTROL not in taken:  # it is called so where there is no other
        given[IMAGE] = given.pop(CONTROL)
    return {name: value for name, value in arguments.items() if name in taken} | given


def _pictures(requests: Sequence[ImageRequest]) -> Iterator[tuple[str, torch.Tensor]]:
    """(N, 3, H, W) float32 in [0, 1], and of masks (N, 1, H, W)."""
    for name in PICTURES:
        if requests[0].picture(name) is not None:
            stacked = torch.from_numpy(np.stack([request.picture(name) for request in requests])).float() / 255
            yield name, stacked.unsqueeze(1) if stacked.ndim == 3 else stacked.permute(0, 3, 1, 2).contiguous()


def composited(pixels: np.ndarray, request: ImageRequest) -> np.ndarray:
    """(H, W, 3) uint8, with the picture's own pixels where a mask keeps them."""
    image, mask = request.picture("image"), request.picture("mask_image")
    if mask is None or image.shape != pixels.shape:
        return pixels
    kept: np.ndarray = np.where(mask[..., None] > 0, pixels, image)
    return kept
