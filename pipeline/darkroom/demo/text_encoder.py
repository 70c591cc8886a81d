"""The caption reader: a CLIPTokenizer, and a small CLIP text encoder that first learns to say what a caption shows."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from tokenizers import pre_tokenizers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from darkroom.demo.pictures import ATTRIBUTES, PLACES, attribute_labels, place_labels, tokenize
from darkroom.demo.training_loop import Phase, Report, train_steps
from darkroom.demo.world import random_scene, with_words_left_out

MAX_TOKENS = 32  # of a caption, start and end included; the world's longest takes 22
_END = "</w>"  # how CLIP marks a word's last symbol
# Byte-pair merges of the world's words, a pair a line. Kept as data: learners of libraries break ties at random.
_MERGES = Path(__file__).with_name("merges.txt")


def make_tokenizer() -> CLIPTokenizer:
    """The tokenizer, the same one each time."""
    merges = [(left, right) for left, right in map(str.split, _MERGES.read_text().splitlines())]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(symbol + _END for symbol in alphabet), *("".join(pair) for pair in merges)]
    symbols = list(dict.fromkeys([*symbols, "<|startoftext|>", "<|endoftext|>"]))
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


WIDTH = 128


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
