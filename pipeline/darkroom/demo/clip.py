"""A small CLIP of the world: says how well a picture fits a caption, and gives features of pictures.

The vision tower first learns to name what it sees; the contrastive phase then joins pictures and captions."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import AutoTokenizer, CLIPConfig, CLIPModel, CLIPTextConfig, CLIPTokenizer, CLIPVisionConfig

from darkroom.demo.pictures import ATTRIBUTES, World, tokenize
from darkroom.demo.text_encoder import MAX_TOKENS, AttributeHeads
from darkroom.demo.training_loop import Phase, Report, halve_weights, train_steps
from darkroom.demo.world import MIRRORED, Scene, changed_word

_WIDTH = 96
_FEATURES = 64


def make_clip(tokenizer: CLIPTokenizer) -> CLIPModel:
    shape = {
        "hidden_size": _WIDTH,
        "intermediate_size": 3 * _WIDTH,
        "num_attention_heads": 4,
        "projection_dim": _FEATURES,
    }
    specials = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = CLIPTextConfig(
        vocab_size=len(tokenizer), num_hidden_layers=2, max_position_embeddings=MAX_TOKENS, **shape, **specials
    )
    vision = CLIPVisionConfig(image_size=64, patch_size=8, num_hidden_layers=4, **shape)
    return CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=_FEATURES))


def train_clip(
    clip: CLIPModel, world: World, attributes: Phase, contrast: Phase, seed: int, folder: Path, report: Report
) -> None:
    heads = AttributeHeads(_WIDTH, ATTRIBUTES)

    def attribute_loss(generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(world.scenes), (attributes.batch_size,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            state = clip.vision_model(_jittered(world.images(index), generator)).pooler_output
        return heads.loss(state.float(), world.labels[index])

    def contrast_loss(generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(world.scenes), (contrast.batch_size,), generator=generator)
        with torch.autocast("cpu", torch.bfloat16):
            images = clip.get_image_features(_jittered(world.images(index), generator)).pooler_output
            texts = clip.get_text_features(world.tokens[index, 0]).pooler_output
        images, texts = nn.functional.normalize(images.float()), nn.functional.normalize(texts.float())
        logits = clip.logit_scale.clamp(max=4.6).exp() * images @ texts.T
        # Equal captions of one batch are no negatives of each other.
        same = (world.labels[index][:, None] == world.labels[index][None]).all(-1).float()
        target = same / same.sum(1, keepdim=True)
        return (nn.functional.cross_entropy(logits, target) + nn.functional.cross_entropy(logits.T, target)) / 2

    train_steps(attributes, nn.ModuleList([clip.vision_model, heads]), attribute_loss, seed, folder, report)
    train_steps(contrast, clip, contrast_loss, seed, folder, report)


def train_clip_words(
    clip: CLIPModel, tokenizer: CLIPTokenizer, world: World, phase: Phase, seed: int, folder: Path, report: Report
) -> None:
    """Tell each picture's caption from one with its objects' places swapped and one with another word changed."""

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        index = torch.randint(len(world.scenes), (phase.batch_size,), generator=generator)
        rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
        scenes = [world.scenes[number] for number in index.tolist()]
        wrong = tokenize(tokenizer, [caption for scene in scenes for caption in _wrong_captions(scene, rng)])
        with torch.autocast("cpu", torch.bfloat16):
            images = clip.get_image_features(_jittered(world.images(index), generator)).pooler_output
            texts = clip.get_text_features(torch.cat([world.tokens[index, 0], wrong])).pooler_output
        images, texts = nn.functional.normalize(images.float()), nn.functional.normalize(texts.float())
        logits = clip.logit_scale.clamp(max=4.6).exp() * images @ texts.T
        right = torch.arange(phase.batch_size)
        return nn.functional.cross_entropy(logits, right) + nn.functional.cross_entropy(
            logits[:, : phase.batch_size].T, right
        )

    train_steps(phase, clip, loss_of, seed, folder, report)


def _wrong_captions(scene: Scene, rng: np.random.Generator) -> list[str]:
    """One with another size, colour or shape, and for two objects one with their places swapped."""
    changed = (changed_word(scene, part, rng) for part in [*rng.permutation(["shape", "size", "colour"]), "background"])
    other = next(found for found in changed if found).caption()
    return [other, replace(scene, relation=MIRRORED[scene.relation]).caption()] if scene.relation else [other]


def _jittered(images: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """A little noise and blur of brightness, so that generated pictures are read as drawn ones are."""
    noise = 0.06 * torch.randn(images.shape, generator=generator)
    return images + noise + 0.05 * torch.randn(len(images), 3, 1, 1, generator=generator)


def save_clip(clip: CLIPModel, tokenizer: CLIPTokenizer, folder: Path) -> None:
    """Save in float16, with the tokenizer and how a picture becomes the model's input."""
    clip.save_pretrained(folder, safe_serialization=True)
    halve_weights(folder)
    tokenizer.save_pretrained(folder)
    processor = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 64},
        "resample": 3,  # bicubic, as PIL numbers it
        "do_center_crop": True,
        "crop_size": {"height": 64, "width": 64},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


_BATCH = 256


class SmallClip:
    """A loaded CLIP of the world."""

    def __init__(self, folder: Path) -> None:
        self._model = CLIPModel.from_pretrained(folder, dtype=torch.float32)
        self._tokenizer: CLIPTokenizer = AutoTokenizer.from_pretrained(folder)

    @torch.inference_mode()
    def of_pictures(self, pictures: np.ndarray) -> np.ndarray:
        """(N, 64, 64, 3) uint8 to (N, features) float64 of unit length."""
        images = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 127.5 - 1
        parts = [self._model.get_image_features(batch).pooler_output for batch in images.split(_BATCH)]
        return _unit(torch.cat(parts))

    @torch.inference_mode()
    def of_captions(self, captions: Sequence[str]) -> np.ndarray:
        """(N, features) float64 of unit length."""
        tokens = tokenize(self._tokenizer, captions)
        return _unit(torch.cat([self._model.get_text_features(batch).pooler_output for batch in tokens.split(_BATCH)]))


def _unit(features: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(features.double()).numpy()
