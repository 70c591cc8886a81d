"""Resizes a picture in the four ways that published Frechet distances come from. Knows no network.

The way matters: on the same pictures it moves FID by whole points (Parmar, Zhang and Zhu 2022, "On Aliased Resizing and
Surprising Subtleties in GAN Evaluation"). Which tool does which: `tf1` the original FID (Heusel et al. 2017),
torch-fidelity and NVIDIA's tools; `torch` pytorch-fid; `torch-aa` torchmetrics; `clean` clean-fid.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

Size = tuple[int, int]  # height, width


def resize(picture: np.ndarray, size: Size, mode: str) -> np.ndarray:
    """(H, W, 3) uint8 to (3, *size) float32 in [0, 255], not rounded; mode is one of RESIZES."""
    return RESIZES[mode](picture, size)


def resize_tf1(picture: np.ndarray, size: Size) -> np.ndarray:
    """As TensorFlow 1's ResizeBilinear without align_corners: output i reads at i * in / out, no half-pixel shift.

    Nothing is averaged when a picture shrinks, so fine detail aliases. Columns are blended first, then rows.
    """
    (top, bottom, down), (left, right, across) = (
        _neighbours(count, wanted) for count, wanted in zip(picture.shape, size, strict=False)
    )
    rows = picture.transpose(2, 0, 1).astype(np.float32)
    upper, lower = (
        part[:, :, left] + (part[:, :, right] - part[:, :, left]) * across for part in (rows[:, top], rows[:, bottom])
    )
    return upper + (lower - upper) * down[:, None]


def _neighbours(count: int, wanted: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `wanted` places among `count` pixels: the pixel before, the one after, the share of the latter."""
    places = np.arange(wanted, dtype=np.float32) * np.float32(count / wanted)
    before = places.astype(np.int64)
    return before, np.minimum(before + 1, count - 1), places - before.astype(np.float32)


def resize_torch(picture: np.ndarray, size: Size) -> np.ndarray:
    """Bilinear between pixel centres; nothing is averaged when a picture shrinks."""
    return _interpolated(picture, size, antialias=False)


def resize_torch_aa(picture: np.ndarray, size: Size) -> np.ndarray:
    """Bilinear, its window widened when a picture shrinks."""
    return _interpolated(picture, size, antialias=True)


def _interpolated(picture: np.ndarray, size: Size, antialias: bool) -> np.ndarray:
    pixels = torch.from_numpy(picture.transpose(2, 0, 1).astype(np.float32))[None]
    return interpolate(pixels, size, mode="bilinear", align_corners=False, antialias=antialias)[0].numpy()


def resize_clean(picture: np.ndarray, size: Size) -> np.ndarray:
    """Pillow's bicubic, its window widened when a picture shrinks, on float channels; overshoot is cut off."""
    return channelwise(picture, size, Image.Resampling.BICUBIC).clip(0, 255)


def channelwise(picture: np.ndarray, size: Size, resample: Image.Resampling) -> np.ndarray:
    """(H, W, 3) uint8 to (3, *size) float32 by Pillow's resize of float channels, so that nothing is rounded."""
    channels = [Image.fromarray(channel) for channel in picture.transpose(2, 0, 1).astype(np.float32)]
    return np.stack([np.asarray(channel.resize(size[::-1], resample)) for channel in channels])


RESIZES: Mapping[str, Callable[[np.ndarray, Size], np.ndarray]] = {
    "tf1": resize_tf1,
    "torch": resize_torch,
    "torch-aa": resize_torch_aa,
    "clean": resize_clean,
}
