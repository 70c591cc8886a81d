"""Measures the embedded LoRAs: whether their style shows in pixels, by weight, and how many captions stay right."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from darkroom.bench.demo_check import Accuracy, Report, Setting, accuracy, load, render
from darkroom.demo import world
from darkroom.demo.drawing import blobs, foreground
from darkroom.demo.styles import STYLES, plain
from darkroom.domain.errors import DarkroomError

MOST_CAPTIONS = 128  # that a check takes at each weight
WEIGHTS = (0.0, 0.5, 1.0)
_SETTING = Setting(guidance_scale=4.0, num_inference_steps=20)


@dataclass(frozen=True)
class StyleFigures:
    """What a LoRA at one weight does."""

    style: str
    weight: float
    inner: float  # mean share of painted pixels whose neighbours are all painted: outlines have few
    height: float  # mean height of objects over their width
    accuracy: Accuracy  # of each picture read as drawn plainly or in the style, whichever says more


def lora_files(folder: Path) -> dict[str, Path]:
    """The file of each style's LoRA. Raises DarkroomError where one is missing."""
    found = {style: folder / f"{style}.safetensors" for style in STYLES}
    for file in found.values():
        if not file.is_file():
            raise DarkroomError(f"loras_folder={folder}: no {file.name} there; give the folder that has all of them")
    return found


def inner_share(picture: np.ndarray) -> float:
    """Share of a picture's painted pixels whose eight neighbours are painted too."""
    painted = foreground(picture)
    rows = painted[:-2] & painted[1:-1] & painted[2:]
    inner = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return float(inner.sum() / max(1, painted.sum()))


def height_share(picture: np.ndarray) -> float:
    """Mean height of its objects' boxes over their widths; 1 where there are none."""
    boxes = [np.ptp(np.nonzero(blob), axis=1) + 1 for blob in blobs(foreground(picture))]
    return float(np.mean([height / width for height, width in boxes])) if boxes else 1.0


def check_loras(
    model_folder: Path, loras: Mapping[str, Path], num_captions: int, seed: int, report: Report
) -> list[StyleFigures]:
    """Render held-out captions with each LoRA at each weight, the same noise in each, and measure."""
    scenes = world.distinct_scenes(seed + 1000, num_captions)
    found: list[StyleFigures] = []
    for style, file in loras.items():
        pipe = load(model_folder)
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=style)
        for weight in WEIGHTS:
            pipe.set_adapters([style], [weight])
            pictures = render(pipe, scenes, _SETTING, seed)
            found.append(_figures(style, weight, pictures, scenes))
            report(_line(found[-1]))
    return found


def _figures(style: str, weight: float, pictures: np.ndarray, scenes: Sequence[world.Scene]) -> StyleFigures:
    inner = float(np.mean([inner_share(each) for each in pictures]))
    height = float(np.mean([height_share(each) for each in pictures]))
    return StyleFigures(style, weight, inner, height, accuracy(pictures, scenes, (plain, STYLES[style])))


def _line(found: StyleFigures) -> str:
    right = ", ".join(f"{part} {share:.1%}" for part, share in vars(found.accuracy).items())
    return f"{found.style} at {found.weight:g}: inner pixels {found.inner:.1%}, height {found.height:.2f}; {right}"


def styles_show(figures: Sequence[StyleFigures]) -> bool:
    """Whether more weight shows more of each LoRA's style. No share of right captions is asked for: shapes suffer."""
    found = {style: [each for each in figures if each.style == style] for style in STYLES}
    inner, height = [each.inner for each in found["sketch"]], [each.height for each in found["squashed"]]
    return inner[0] > inner[1] > inner[2] and height[0] > height[1] > height[2]
