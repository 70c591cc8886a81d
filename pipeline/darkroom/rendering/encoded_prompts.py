"""Text embeddings of pipelines that are given prompts as text, computed once for each prompt.

Such a pipeline's call encodes its prompts by its own `encode_prompt`. `EncodedPrompts` takes that method's place: rows
that were encoded before, in an earlier batch or cell, are given again, and the rest are encoded one by one, so that an
embedding depends neither on the prompts beside it nor on what was encoded before.

Weights of words in prompts are factors of their tokens' embeddings: one of weight w is moved along the line from the
empty prompt's embedding at its place, to empty + w * (embedding - empty), as ComfyUI does it (`ClipTokenWeightEncoder`
in comfy/sd1_clip.py). AUTOMATIC1111's web UI multiplies embeddings themselves and scales the whole batch back to its
former mean (modules/sd_emphasis.py): that divides by what may be near zero, and makes an image depend on its
neighbours. Pooled embeddings stay as they are, in both.
"""

import inspect
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import torch

from darkroom.domain.adapters import Active
from darkroom.domain.prompt_syntax import ReadPrompt
from darkroom.rendering.adapters import LoraSwitch
from darkroom.rendering.family import Family

_MAX_BYTES = 2**30  # of embeddings, on the pipeline's device: some 250 prompts of Flux, 40,000 of Sana
_TEXTS = ("prompt", "negative_prompt")  # how the names of arguments begin that have a text for each row

_ROWLESS = object()  # an output, or a part of one, that is no row of a prompt
Row = tuple[Any, ...]  # of each output one prompt's part: a tensor with a first axis of length 1, or None
_ENCODERS = (("tokenizer", "text_encoder"), ("tokenizer_2", "text_encoder_2"))


def caches_text(pipe: Any, family: Family) -> bool:
    return family.is_proved and family.caches_text and hasattr(pipe, "encode_prompt")


class EncodedPrompts:
    """(prompts and other arguments of `encode_prompt`) -> what it returns, with a row for each prompt."""

    def __init__(self, pipe: Any, family: Family, loras: LoraSwitch | None = None) -> None:
        self._encode, self._shared = pipe.encode_prompt, family.shared_text
        self._signature = inspect.signature(self._encode)
        self._pipe = pipe
        self._rows: OrderedDict[Hashable, Row] = OrderedDict()
        self._num_bytes = 0
        self._is_off = False  # once an output is seen that has no row for each prompt
        self._switch = loras
        self.rows: Sequence[Active] = ()  # LoRAs of each image of the next call; empty: none
        pipe.encode_prompt = self

    @contextmanager
    def bypassed(self) -> Iterator[None]:
        """Inside, the pipeline encodes by itself."""
        self._pipe.encode_prompt = self._encode
        try:
            yield
        finally:
            self._pipe.encode_prompt = self

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        given = self._signature.bind(*args, **kwargs).arguments
        given |= given.pop("kwargs", {})
        texts = {name: value for name, value in given.items() if name.startswith(_TEXTS) and _is_texts(value)}
        others = {name: value for name, value in given.items() if name not in texts}
        others |= {"batch_size": 1} if "batch_size" in others else {}
        if self._is_off or "prompt" not in texts or not all(map(_is_plain, others.values())):
            return self._encoded_at_once(*args, **kwargs)
        outputs = self._outputs(texts, others)
        if any(each is _ROWLESS for each in outputs):
            self._is_off = True
            self.clear()
            return self._encoded_at_once(*args, **kwargs)
        return outputs

    def _outputs(self, texts: Mapping[str, Sequence[str]], others: Mapping[str, Any]) -> tuple[Any, ...]:
        """`_ROWLESS` stands for an output that cannot be put together of rows."""
        states = self._states(len(texts["prompt"]))
        keys = self._keys(texts, others, states)
        for place, key in enumerate(keys):
            if key not in self._rows:
                self._use(states[place])
                self._rows[key] = self._encoded({name: [value[place]] for name, value in texts.items()}, others)
                self._num_bytes += _num_bytes(self._rows[key])
        found = [self._rows[key] for key in keys]
        self._forget(keys)
        return tuple(_joined(parts, number in self._shared) for number, parts in enumerate(zip(*found, strict=True)))

    def _encoded_at_once(self, *args: Any, **kwargs: Any) -> Any:
        """By the pipeline itself, which has one set of LoRAs for all prompts."""
        if len(states := set(self._states(len(self.rows)))) > 1:
            raise ValueError("prompts of several LoRAs are encoded at once")
        self._use(*states or ((),))
        return self._encode(*args, **kwargs)

    def _states(self, num_prompts: int) -> list[Active]:
        """LoRAs that change each prompt's text."""
        if not self._switch or not self.rows:
            return [()] * num_prompts
        states = [self._switch.text_state(row) for row in self.rows]
        return states[:1] * num_prompts if len(set(states)) == 1 else states

    def _use(self, state: Active) -> None:
        if self._switch:
            self._switch.use_in_text(state)

    def clear(self) -> None:
        self._rows.clear()
        self._num_bytes = 0

    def _keys(
        self, texts: Mapping[str, Sequence[str]], others: Mapping[str, Any], states: Sequence[Active]
    ) -> list[Hashable]:
        values = ((name, tuple(value) if isinstance(value, list) else value) for name, value in others.items())
        common = tuple(sorted(values, key=itemgetter(0)))
        rows = zip(states, zip(*texts.values(), strict=True), strict=True)
        return [(state, common, tuple(zip(texts, row, strict=True))) for state, row in rows]

    def _encoded(self, texts: Mapping[str, list[str]], others: Mapping[str, Any]) -> Row:
        """The row of one prompt."""
        outputs = self._encode(**texts, **others)
        if not isinstance(outputs, tuple):
            return (_ROWLESS,)
        is_row = [number in self._shared or _is_row(output) for number, output in enumerate(outputs)]
        return tuple(output if is_one else _ROWLESS for output, is_one in zip(outputs, is_row, strict=True))

    def _forget(self, keys: Sequence[Hashable]) -> None:
        """Drop what was used least recently, beyond the room that there is; never what is in use."""
        for key in keys:
            self._rows.move_to_end(key)
        while self._num_bytes > _MAX_BYTES and len(self._rows) > len(set(keys)):
            self._num_bytes -= _num_bytes(self._rows.popitem(last=False)[1])


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) for each in value)


def _is_plain(value: Any) -> bool:
    """Whether equal values mean the same: numbers, texts, devices and dtypes do, tensors do not."""
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return isinstance(value, type(None) | bool | int | float | str | torch.device | torch.dtype)


def _is_row(output: Any) -> bool:
    if output is None or isinstance(output, list):
        return output is None or len(output) == 1
    return isinstance(output, torch.Tensor) and output.ndim > 0 and len(output) == 1


def _joined(parts: Sequence[Any], is_shared: bool) -> Any:
    """The parts of prompts as one output, which the pipeline may change; `_ROWLESS` where they are of several kinds."""
    kinds = {part.shape[1:] if isinstance(part, torch.Tensor) and not is_shared else type(part) for part in parts}
    if len(kinds) > 1 or any(part is _ROWLESS for part in parts):
        return _ROWLESS
    if parts[0] is None:
        return None
    if is_shared:
        return parts[0].clone()
    if isinstance(parts[0], list):
        return [each.clone() for part in parts for each in part]
    return torch.cat(list(parts))


def _num_bytes(row: Row) -> int:
    parts = [each for part in row for each in (part if isinstance(part, list) else [part])]
    return sum(each.nbytes for each in parts if isinstance(each, torch.Tensor))


# Weights of words ----------------------------------------------------------------------------------------------------


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
