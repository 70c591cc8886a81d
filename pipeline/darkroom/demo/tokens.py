"""A real CLIPTokenizer for the demo's models: byte-level, so any text can be read, with one token for each word of
the world."""

from pathlib import Path

from tokenizers import pre_tokenizers
from transformers import CLIPTokenizer

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
