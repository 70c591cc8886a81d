"""The caption reader: a small CLIP text encoder, first taught to say a caption's attributes.

The warm-up binds each colour and size to its shape in the text states, which the denoiser would otherwise have to
learn from pixels alone.
"""

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from pipeline.demo.pictures import ATTRIBUTES, PLACES, attribute_labels, place_labels, tokenize
from pipeline.demo.steps import Phase, Report, train_steps
from pipeline.demo.tokens import MAX_TOKENS
from pipeline.demo.world import COLOURS, SHAPES, SIZES, Scene, random_scene, with_words_left_out

WIDTH = 128
PLACE_WORDS = (len(SIZES), len(COLOURS), len(SHAPES)) * len(PLACES)
_HOLD_WEIGHT = 1.0  # of staying near the states that were there, while places are taught


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


_NUM_WORDS = tuple(len(words) for words in ATTRIBUTES.values())


class AttributeHeads(nn.Module):
    """One classifier for each attribute of a scene, on one vector."""

    def __init__(self, width: int, num_words: Sequence[int] = _NUM_WORDS) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(width, 1 + count) for count in num_words)

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
    """Train the encoder to tell every attribute of a caption from its end-of-text state."""
    heads = AttributeHeads(WIDTH)

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        tokens, labels = _captions(tokenizer, phase.batch_size, generator)
        return heads.loss(encoder(tokens).pooler_output, labels)

    train_steps(phase, nn.ModuleList([encoder, heads]), loss_of, seed, folder, report)
    with torch.no_grad():
        tokens, labels = _captions(tokenizer, 512, torch.Generator().manual_seed(seed + 1))
        right = heads.accuracy(encoder(tokens).pooler_output, labels)
    report(f"{phase.name}: attributes told from captions {right.mean():.1%}, the least {right.min():.1%}")


def teach_places(
    encoder: CLIPTextModel, tokenizer: CLIPTokenizer, phase: Phase, seed: int, folder: Path, report: Report
) -> None:
    """Train the encoder to tell what lies left, right, at the top and at the bottom.

    Its states are held near what they were, so that a denoiser that reads them goes on understanding them.
    """
    torch.manual_seed(seed)
    before, heads = copy.deepcopy(encoder).requires_grad_(False), AttributeHeads(WIDTH, PLACE_WORDS)

    def loss_of(generator: torch.Generator) -> torch.Tensor:
        tokens, labels = _placed(tokenizer, phase.batch_size, generator)
        read = encoder(tokens)
        held = nn.functional.mse_loss(read.last_hidden_state, before(tokens).last_hidden_state)
        return heads.loss(read.pooler_output, labels) + _HOLD_WEIGHT * held

    train_steps(phase, nn.ModuleList([encoder, heads]), loss_of, seed, folder, report)
    with torch.no_grad():
        tokens, labels = _placed(tokenizer, 512, torch.Generator().manual_seed(seed + 1))
        right = heads.accuracy(encoder(tokens).pooler_output, labels)
        held = nn.functional.mse_loss(encoder(tokens).last_hidden_state, before(tokens).last_hidden_state)
    report(f"{phase.name}: places told from captions {right.mean():.1%}, the least {right.min():.1%}; moved {held:.3f}")


def _placed(tokenizer: CLIPTokenizer, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    scenes: list[Scene] = []
    while len(scenes) < count:
        scene = random_scene(rng, 0.9)
        if scene.is_trained_on:
            scenes.append(scene)
    return tokenize(tokenizer, [scene.caption() for scene in scenes]), torch.tensor(list(map(place_labels, scenes)))


def _captions(tokenizer: CLIPTokenizer, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(int(torch.randint(2**62, (1,), generator=generator)))
    scenes = [with_words_left_out(random_scene(rng, 0.6), rng, 0.15) for _ in range(count)]
    labels = torch.tensor([attribute_labels(scene) for scene in scenes])
    return tokenize(tokenizer, [scene.caption() for scene in scenes]), labels
