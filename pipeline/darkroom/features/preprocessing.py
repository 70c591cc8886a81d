"""From a picture to what a CLIP or a DINOv2 sees: resize, crop, scale, as the model's own processor file says.

Written out here, and not left to transformers' processors, whose results depend on whether torchvision is installed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from darkroom.domain.errors import DarkroomError
from darkroom.features.resize import RESIZES, Size, resize
from darkroom.features.spec import ExtractorSpec
from darkroom.features.weights import read_json

_STEPS = ("do_resize", "do_rescale", "do_normalize")


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
    def words(self) -> str:
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


def read_preprocessing(folder: Path, spec: ExtractorSpec) -> Preprocessing:
    """From preprocessor_config.json, or processor_config.json as newer versions save it."""
    if spec.resize is not None and spec.resize not in RESIZES:
        raise DarkroomError(
            f"extractor {spec.name}: resize={spec.resize} is not known; use {', '.join(RESIZES)}, or leave it out"
        )
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
