"""Measures the embedded model: how many captions it gets right, and what guidance and steps do to its figures.

All captions are held out: their combinations were never trained on. What each ruler says of true drawings comes first,
since a ruler that errs there measures nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch

from darkroom.demo import world
from darkroom.demo.drawing import Verdict, draw, judge
from darkroom.demo.encoders import SmallClip
from darkroom.demo.styles import Style, plain
from darkroom.demo.world import Scene, changed_word
from darkroom.evaluation.frechet import frechet_distance
from darkroom.evaluation.moments import FeatureMoments

Report = Callable[[str], None]

GUIDANCES = (1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 12.0)
_BATCH = 32
_NUM_RECALL = 1000  # captions among which each picture looks for its own
_PARTS = ("background", "colour", "relation", "size", "shape", "everything")


@dataclass(frozen=True)
class Accuracy:
    """Shares of captions whose part is right in every object that they name."""

    background: float
    colour: float
    relation: float  # of captions with two objects
    size: float
    shape: float
    everything: float


# What the committed weights are held to, at guidance 3 to 5 and 20 steps.
BAR = Accuracy(background=0.97, colour=0.92, relation=0.90, size=0.85, shape=0.80, everything=0.60)


@dataclass(frozen=True)
class Setting:
    guidance_scale: float
    num_inference_steps: int


@dataclass(frozen=True)
class Figures:
    """What one setting reaches."""

    setting: Setting
    accuracy: Accuracy
    clip_score: float  # mean cosine of picture and caption
    frechet: float  # of the CLIP's picture features, against drawings of the same scenes


@dataclass(frozen=True)
class ClipFigures:
    """How well the small CLIP tells things apart, on true held-out drawings."""

    one_word: dict[str, float]  # attribute -> share where the true caption beats one changed in that word
    recall_at_1: float  # of 1,000 captions


def drawings(scenes: Sequence[Scene], seed: int) -> np.ndarray:
    """(N, 64, 64, 3) uint8."""
    rng = np.random.default_rng(seed)
    return np.stack([draw(scene, rng) for scene in scenes])


def accuracy(pictures: np.ndarray, scenes: Sequence[Scene], styles: Sequence[Style] = (plain,)) -> Accuracy:
    """Each picture read as drawn in the one of these styles in which most of it is right."""
    verdicts = [
        max((judge(picture, scene, style) for style in styles), key=lambda verdict: sum(map(bool, astuple(verdict))))
        for picture, scene in zip(pictures, scenes, strict=True)
    ]
    return Accuracy(*(_share(verdicts, part) for part in (field.name for field in fields(Accuracy))))


def _share(verdicts: Sequence[Verdict], part: str) -> float:
    answers = [getattr(verdict, part) for verdict in verdicts]
    return float(np.mean([answer for answer in answers if answer is not None]))


def check_model(
    model_folder: Path, clip_folder: Path, num_captions: int, seed: int, settings: Sequence[Setting], report: Report
) -> list[Figures]:
    """Render held-out captions with plain diffusers at each setting, the same noise in each, and measure."""
    scenes = world.distinct_scenes(seed + 1000, num_captions)
    pipe, clip, truth = load(model_folder), SmallClip(clip_folder), drawings(scenes, seed)
    report(f"{num_captions} distinct held-out captions, {sum(bool(scene.second) for scene in scenes)} of two objects")
    report(f"the ruler on true drawings: {_line(accuracy(truth, scenes))}")
    report(f"the ruler on drawings that the autoencoder gave back: {_line(accuracy(coded(pipe, truth), scenes))}")
    captions, true_features = clip.of_captions([scene.caption() for scene in scenes]), clip.of_pictures(truth)
    true_gaussian = FeatureMoments.of(true_features).gaussian()
    report(f"CLIP score of true drawings: {_mean_cosine(true_features, captions):.3f}")
    found = []
    for setting in settings:
        pictures = render(pipe, scenes, setting, seed)
        features = clip.of_pictures(pictures)
        score = _mean_cosine(features, captions)
        distance = frechet_distance(FeatureMoments.of(features).gaussian(), true_gaussian)
        found.append(Figures(setting, accuracy(pictures, scenes), score, distance))
        report(_figures_line(found[-1]))
    return found


@torch.inference_mode()
def coded(pipe: Any, pictures: np.ndarray) -> np.ndarray:
    """Pictures after the way through the autoencoder: what a perfect denoiser could reach."""
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
    parts = [pipe.vae.decode(pipe.vae.encode(batch).latent_dist.mean).sample for batch in images.split(_BATCH)]
    pixels = ((torch.cat(parts) / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.permute(0, 2, 3, 1).numpy()


def render(pipe: Any, scenes: Sequence[Scene], setting: Setting, seed: int) -> np.ndarray:
    """(N, 64, 64, 3) uint8; picture i has noise from seed + i."""
    parts = []
    for start in range(0, len(scenes), _BATCH):
        batch = scenes[start : start + _BATCH]
        generators = [torch.Generator().manual_seed(seed + start + index) for index in range(len(batch))]
        images = pipe(
            [scene.caption() for scene in batch],
            guidance_scale=setting.guidance_scale,
            num_inference_steps=setting.num_inference_steps,
            generator=generators,
            output_type="np",
        ).images
        parts.append(np.rint(images * 255).astype(np.uint8))
    return np.concatenate(parts)


def check_clip(clip_folder: Path, seed: int, report: Report) -> ClipFigures:
    scenes = _unseen_scenes(seed + 2000, _NUM_RECALL)
    clip = SmallClip(clip_folder)
    pictures = clip.of_pictures(drawings(scenes, seed))
    captions = clip.of_captions([scene.caption() for scene in scenes])
    recall = float(((pictures @ captions.T).argmax(1) == np.arange(len(scenes))).mean())
    true_scores = (pictures * captions).sum(1)
    rng = np.random.default_rng(seed)
    one_word = {}
    for part in world.WORDS:
        pairs = [(index, changed) for index, scene in enumerate(scenes) if (changed := changed_word(scene, part, rng))]
        places = np.array([index for index, _ in pairs])
        wrong = clip.of_captions([changed.caption() for _, changed in pairs])
        one_word[part] = float((true_scores[places] > (pictures[places] * wrong).sum(1)).mean())
    words = ", ".join(f"{part} {share:.1%}" for part, share in one_word.items())
    report(f"small CLIP, {len(scenes)} held-out captions: one word changed {words}; recall at 1 {recall:.1%}")
    return ClipFigures(one_word, recall)


def meets_bar(figures: Sequence[Figures]) -> bool:
    """Whether every setting of guidance 3 to 5 at 20 steps reaches the bar in every part."""
    judged = [
        item for item in figures if 3 <= item.setting.guidance_scale <= 5 and item.setting.num_inference_steps == 20
    ]
    return bool(judged) and all(
        getattr(item.accuracy, part) >= getattr(BAR, part) for item in judged for part in _PARTS
    )


def clip_meets_bar(figures: ClipFigures) -> bool:
    return min(figures.one_word.values()) >= 0.95 and figures.recall_at_1 >= 0.85


def curve_holds(figures: Sequence[Figures]) -> bool:
    """Whether the trade-off is a real one: guidance helps and then hurts, and few steps are worse than many."""
    by_guidance = {item.setting.guidance_scale: item for item in figures if item.setting.num_inference_steps == 20}
    least, most = by_guidance[min(by_guidance)], by_guidance[max(by_guidance)]
    peak = max(by_guidance.values(), key=lambda item: item.clip_score)
    best = min(item.frechet for item in by_guidance.values())
    hasty = next(item for item in figures if item.setting.num_inference_steps == 5)
    same = by_guidance[hasty.setting.guidance_scale]
    return (
        least.clip_score < peak.clip_score
        and most.clip_score < peak.clip_score
        and peak.setting.guidance_scale <= 7.5
        and most.frechet > best
        and hasty.frechet > same.frechet
    )


def _unseen_scenes(seed: int, count: int) -> list[Scene]:
    """Scenes with different pictures whose captions the CLIP was not trained on."""
    rng = np.random.default_rng(seed)
    found: dict[Scene, None] = {}
    while len(found) < count:
        scene = world.random_scene(rng, two_objects=0.9)
        if not scene.is_trained_on and scene.mirrored not in found:
            found[scene] = None
    return list(found)


def load(folder: Path) -> Any:
    from diffusers import DiffusionPipeline

    pipe = DiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _mean_cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((first * second).sum(1).mean())


def _parts(found: Accuracy) -> Iterator[str]:
    return (f"{part} {getattr(found, part):.1%}" for part in _PARTS)


def _line(found: Accuracy) -> str:
    return ", ".join(_parts(found))


def _figures_line(figures: Figures) -> str:
    setting = figures.setting
    return (
        f"guidance {setting.guidance_scale:4.1f}, {setting.num_inference_steps:2} steps: {_line(figures.accuracy)}; "
        f"CLIP score {figures.clip_score:.3f}, Frechet distance {figures.frechet:.4f}"
    )
