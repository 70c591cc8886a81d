"""Weights of words in prompts, as factors of their tokens' embeddings.

An embedding of weight w is moved along the line from the empty prompt's embedding at its place, to
empty + w * (embedding - empty), as ComfyUI does it (`ClipTokenWeightEncoder` in comfy/sd1_clip.py).
AUTOMATIC1111's web UI multiplies embeddings themselves and scales the whole batch back to its former mean
(modules/sd_emphasis.py): that divides by what may be near zero, and makes an image depend on its neighbours. Pooled
embeddings stay as they are, in both.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from darkroom.domain.prompt_syntax import ReadPrompt

_ENCODERS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))


def weighted(pipe: Any, embeds: torch.Tensor, empty: torch.Tensor, prompts: Sequence[ReadPrompt]) -> torch.Tensor:
    """(N, tokens, width) embeddings with their prompts' weights, those of weight 1 bit by bit as they were.

    empty: (tokens, width), of the empty prompt by the same encoders.
    """
    weights = torch.cat(list(_by_encoder(pipe, embeds, prompts)), -1)
    moved = empty.float() + weights * (embeds.float() - empty.float())
    return torch.where(weights == 1, embeds, moved.to(embeds.dtype))


def _by_encoder(pipe: Any, embeds: torch.Tensor, prompts: Sequence[ReadPrompt]) -> Iterator[torch.Tensor]:
    """For each text encoder, whose embeddings lie side by side, (N, tokens, its width) float32."""
    for tokenizer, encoder in _ENCODERS:
        if getattr(pipe, tokenizer, None) is not None:
            rows = [token_weights(pipe, getattr(pipe, tokenizer), prompt, embeds.shape[1]) for prompt in prompts]
            weights = torch.tensor(rows, dtype=torch.float32, device=embeds.device)
            yield weights.unsqueeze(-1).expand(-1, -1, getattr(pipe, encoder).config.hidden_size)


def token_weights(pipe: Any, tokenizer: Any, prompt: ReadPrompt, num_tokens: int) -> list[float]:
    """A weight for each of the tokens that the encoder is given: the start, the words that fit, the end and padding.

    A space ends a word for CLIP's tokenizers, so that a prompt's tokens are those of its parts.
    """
    found: list[float] = []
    for text, weight in prompt.parts:
        words = pipe.maybe_convert_prompt(text, tokenizer)  # a word of textual inversion may be several tokens
        found += [weight] * len(tokenizer(words, add_special_tokens=False, verbose=False).input_ids)
    read = [1.0, *found[: num_tokens - 2]]
    return read + [1.0] * (num_tokens - len(read))
