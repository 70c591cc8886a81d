"""From an image to what a network sees: resizing in the four published ways, and a model's own processor.

The way of resizing matters: on the same images it moves FID by whole points (Parmar, Zhang and Zhu 2022, "On Aliased
Resizing and Surprising Subtleties in GAN Evaluation"). Which tool does which: `tf1` the original FID (Heusel et al.
2017), torch-fidelity and NVIDIA's tools; `torch` pytorch-fid; `torch-aa` torchmetrics; `clean` clean-fid, and dgm-eval
where it is told to resize cleanly; `dgm-eval` that tool's DINOv2 as it is by default. Processors of a CLIP or a DINOv2
are written out here, and not left to transformers, whose results depend on whether torchvision is installed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.networks import read_json

Size = tuple[int, int]  # height, width
DGM_EVAL = "dgm-eval"  # of a DINOv2 alone
_STEPS = ("do_resize", "do_rescale", "do_normalize")


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


@dataclass(frozen=True)
class Preprocessing:
    """What a processor does to a picture."""

    size: int | Size  # of the shorter edge, or of both
    crop: Size  # around the centre; what the network sees
    resample: Image.Resampling
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mode: str | None  # resize straight to `crop` in this way, and not as the processor does

    @property
    def description(self) -> str:
        """All of it, for an extractor's identity."""
        side = f"shortest edge {self.size}" if isinstance(self.size, int) else "x".join(map(str, self.size))
        crop = "x".join(map(str, self.crop))
        way = f"{self.mode} {crop}" if self.mode else f"{self.resample.name.lower()} {side}, crop {crop}"
        return f"{way}, mean {_listed(self.mean)}, std {_listed(self.std)}"

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 to (3, *crop) float32, normalised."""
        pixels = resize(picture, self.crop, self.mode) if self.mode else self._as_processor(picture)
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.mean, self.std))
        return (pixels / np.float32(255) - mean) / std

    def _as_processor(self, picture: np.ndarray) -> np.ndarray:
        """Pillow's resize of whole pixels, rounded, then the centre."""
        height, width = _resized(picture.shape[:2], self.size)
        pixels = np.asarray(Image.fromarray(picture).resize((width, height), self.resample), np.float32)
        top, left = (height - self.crop[0]) // 2, (width - self.crop[1]) // 2
        return pixels[top : top + self.crop[0], left : left + self.crop[1]].transpose(2, 0, 1)


# Pillow's bicubic of 8-bit pixels, whatever their shape, and ImageNet's mean and deviation: what dgm-eval (Stein et al.
# 2023, https://github.com/layer6ai-labs/dgm-eval, models/dinov2.py) gives a DINOv2, whatever its processor says.
OF_DGM_EVAL = Preprocessing(
    (224, 224), (224, 224), Image.Resampling.BICUBIC, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), None
)


def read_preprocessing(folder: Path, spec: ExtractorSpec, others: Sequence[str] = ()) -> Preprocessing:
    """From preprocessor_config.json, or processor_config.json as newer versions save it.

    `others`: ways of resizing that the caller knows besides.
    """
    if spec.resize is not None and spec.resize not in RESIZES:
        known = ", ".join((*RESIZES, *others))
        raise DarkroomError(f"extractor {spec.name}: resize={spec.resize} is not known; use {known}, or leave it out")
    if (folder / "processor_config.json").is_file() and not (folder / "preprocessor_config.json").is_file():
        config = read_json(folder / "processor_config.json", spec).get("image_processor", {})
    else:
        config = read_json(folder / "preprocessor_config.json", spec)
    try:
        return _parsed(config, spec.resize)
    except (KeyError, TypeError, ValueError) as error:
        raise DarkroomError(
            f"extractor {spec.name}: source={spec.source}: its image processor is not understood "
            f"({type(error).__name__}: {error}); give a model whose processor resizes, crops and normalises"
        ) from None


def _parsed(config: dict[str, Any], mode: str | None) -> Preprocessing:
    undone = [step for step in _STEPS if not config.get(step, True)]
    if undone or abs(config.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise ValueError(f"{undone[0]}=false" if undone else f"rescale_factor={config['rescale_factor']}")
    size = config["size"]
    size = size.get("shortest_edge", size) if isinstance(size, dict) else size
    size = (size["height"], size["width"]) if isinstance(size, dict) else size
    crop = config["crop_size"] if config.get("do_center_crop", True) else size
    crop = (
        (crop["height"], crop["width"]) if isinstance(crop, dict) else (crop, crop) if isinstance(crop, int) else crop
    )
    if isinstance(size, int) and not config.get("do_center_crop", True):
        raise ValueError("do_center_crop=false, which leaves pictures of many sizes")
    if max(crop) > (size if isinstance(size, int) else min(size)):
        raise ValueError(f"crop_size={crop} is more than size={size}")
    resample = Image.Resampling(config.get("resample", Image.Resampling.BICUBIC))
    return Preprocessing(size, crop, resample, _three(config["image_mean"]), _three(config["image_std"]), mode)


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _resized(shape: Size, size: int | Size) -> Size:
    """The shorter edge gets `size`; the other follows, rounded down."""
    if not isinstance(size, int):
        return size
    height, width = shape
    return (int(size * height / width), size) if width <= height else (size, int(size * width / height))


def _listed(values: tuple[float, ...]) -> str:
    return ",".join(f"{value:g}" for value in values)
