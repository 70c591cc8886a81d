"""A real CLIPTokenizer for the demo's models: byte-level, so any text can be read, with one token for each word of
the world."""

import json
from itertools import chain

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from pipeline.demo import world

MAX_TOKENS = 32  # of a caption, start and end included; the world's longest takes 19
_END = "</w>"  # how CLIP marks a word's last symbol
_FRAME_WORDS = ("a", "an", "on", "background")


def make_tokenizer() -> CLIPTokenizer:
    """The tokenizer, the same one each time."""
    merges = _learned_merges(_words())
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    symbols = [*alphabet, *(symbol + _END for symbol in alphabet), *("".join(pair) for pair in merges)]
    symbols = list(dict.fromkeys([*symbols, "<|startoftext|>", "<|endoftext|>"]))
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=MAX_TOKENS)


def _words() -> list[str]:
    phrases = chain(world.COLOURS, world.BACKGROUNDS, world.SIZES, world.SHAPES, world.RELATIONS, _FRAME_WORDS)
    return sorted({word for phrase in phrases for word in phrase.split()})


def _learned_merges(words: list[str]) -> list[tuple[str, str]]:
    """Byte-pair merges that end in one token for every word."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix=_END))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=4096, end_of_word_suffix=_END, show_progress=False)
    tokenizer.train_from_iterator(words, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]
