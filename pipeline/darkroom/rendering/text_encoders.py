"""A model's text encoders, by their tokenizers: how long prompts are for each, and how much of them it reads."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from darkroom.rendering.families import family_of
from darkroom.rendering.family import Family, Text, Tokens
from darkroom.rendering.inspected_model import counter_of
from darkroom.rendering.model_facts import config_of, max_tokens
from darkroom.rendering.model_files import INDEX

_NAMES = {"CLIPTextModel": "CLIP", "CLIPTextModelWithProjection": "CLIP", "T5EncoderModel": "T5",
          "UMT5EncoderModel": "UMT5"}  # fmt: skip
_CLIPS = {768: "CLIP L", 1024: "CLIP H", 1280: "CLIP G"}  # by their width, as they are known


@dataclass(frozen=True)
class TextEncoder:
    name: str  # such as CLIP L (text_encoder)
    count: Callable[[list[str]], list[int]]  # tokens of prompts, start and end included
    limit: int  # tokens that are read


def text_encoders(folder: Path, pipeline_class: str) -> list[TextEncoder]:
    """Those of the model in this folder that read the whole prompt, whose limit is known and whose tokenizer brings no
    code."""
    index, family = json.loads((folder / INDEX).read_bytes()), family_of(pipeline_class)
    found = ((tokens, counter_of(folder, tokens)) for tokens in _tokens(folder, family, index) if tokens.limit)
    return [
        TextEncoder(_name(tokens.name, folder, index), counter, tokens.limit or 0)
        for tokens, counter in found
        if counter
    ]


def _tokens(folder: Path, family: Family, index: Mapping[str, Any]) -> Iterator[Tokens]:
    """With their limits. Of tokenizers that the table of families does not name, those of CLIP say it themselves: it
    has as many positions. Where quoted words are read apart, the first tokenizer alone reads the prompt."""
    listed = {each.name: each for each in family.tokens[: 1 if family.text is Text.QUOTED else None]}
    for name, entry in index.items():
        is_there = isinstance(entry, list) and len(entry) == 2 and isinstance(entry[1], str)
        if is_there and (name in listed or (entry[1].startswith("CLIPTokenizer") and family.text is not Text.QUOTED)):
            tokens = listed.get(name, Tokens(name))
            yield replace(tokens, limit=tokens.limit or max_tokens(folder / name))


def _name(tokenizer: str, folder: Path, index: Mapping[str, Any]) -> str:
    """Of the encoder that reads a tokenizer's tokens."""
    component = tokenizer.replace("tokenizer", "text_encoder")
    kind = str((index.get(component) or [None, tokenizer])[1])
    name = _NAMES.get(kind, kind)
    if name == "CLIP":
        name = _CLIPS.get(config_of(folder / component).get("hidden_size", 0), name)
    return f"{name} ({component})"
