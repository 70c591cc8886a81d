"""What reads captions and pictures: the generator's text encoder, and a small CLIP that says how well they fit.

The text encoder first learns to say what a caption shows, the vision tower to name what it sees; the contrastive phase
then joins pictures and captions.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import pre_tokenizers
from torch import nn
from transformers import (
    AutoTokenizer,
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    CLIPVisionConfig,
)

from darkroom.demo.training_loop import (
    ATTRIBUTES,
    PLACES,
    Phase,
    Report,
    World,
    attribute_labels,
    halve_weights,
    place_labels,
    tokenize,
    train_steps,
)
from darkroom.demo.world import MIRRORED, Scene, changed_word, random_scene, with_words_left_out

MAX_TOKENS = 32  # of a caption, start and end included; the world's longest takes 22
_END = "</w>"  # how CLIP marks a word's last symbol
# Byte-pair merges of the world's words, a pair a line. Kept as data: learners of libraries break ties at random.
_MERGES = Path(__file__).with_name("merges.txt")
WIDTH = 128  # of the generator's text encoder
_WIDTH = 96  # of both towers of the small CLIP
_FEATURES = 64
_BATCH = 256


def make_tokenizer() -> CLIPTokenizer:
    """The tokenizer, the same one each time."""
    merges = [(left, right) for left, right in map(str.split, _MERGES.read_text().splitlines())]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(symbol + _END for symbol in alphabet), *("".join(pair) for pair in merges)]
    symbols = list(dict.fromkeys([*symbols, "<|startoftext|>", "<|endoftext|>"]))
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    return CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=3 * WIDTH,
            projection_dim=WIDTH,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


class AttributeHeads(nn.Module):
    """One classifier for each attribute of a scene, on one vector."""

    def __init__(self, width: int, attributes: Mapping[str, Sequence[str]]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, 1 + len(words)) for words in attributes.values())

    def loss(self, state: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean cross-entropy; state (N, width), labels (N, attributes)."""
        losses = [nn.functional.cross_entropy(head(state), labels[:, i]) for i, head in enumerate(self.heads)]
        return torch.stack(losses).mean()

    def accuracy(self, state: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Share right, by attribute."""
        right = [(head(state).argmax(1) == labels[:, i]).float().mean() for i, head in enumerate(self.heads)]
        return torch.stack(right)


def warm_up(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, phase: Phase, seed: int, folder: Path, report: Report
) -> None:
    """Train the encoder to tell every attribute of a caption, and what lies where, from its end-of-text state."""
    heads = AttributeHeads(WIDTH, {**ATTRIBUTES, **PLACES})

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        tokens, labels = _captions(tokenizer, phase.batch_size, generator)
        return heads.loss(encoder(tokens).pooler_output, labels)

    train_steps(phase, nn.ModuleList([encoder, heads]), loss_of, seed, folder, report)
    with torch.no_grad():
        tokens, labels = _captions(tokenizer, 512, torch.Generator().manual_seed(seed + 1))
        right = heads.accuracy(encoder(tokens).pooler_output, labels)
    report(f"{phase.name}: attributes told from captions {right.mean():.1%}, the least {right.min():.1%}")


def _captions(tokenizer: CLIPTokenizer, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    scenes = [with_words_left_out(random_scene(rng, 0.6), rng, 0.15) for _ in range(count)]
    labels = torch.tensor([attribute_labels(scene) + place_labels(scene) for scene in scenes])
    return tokenize(tokenizer, [scene.caption() for scene in scenes]), labels


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
