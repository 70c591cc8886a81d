"""Text embeddings of pipelines that are given prompts as text, computed once for each prompt.

Such a pipeline's call encodes its prompts by its own `encode_prompt`. `EncodedPrompts` takes that method's place: rows
that were encoded before, in an earlier batch or cell, are given again, and the rest are encoded in the call's own batch
shape, so that an embedding does not depend on which prompts came with it.
"""

import inspect
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any

import torch

from darkroom.domain.adapters import Active
from darkroom.rendering.families import Family

_MAX_BYTES = 2**30  # of embeddings, on the pipeline's device: some 250 prompts of Flux, 40,000 of Sana
_TEXTS = ("prompt", "negative_prompt")  # how the names of arguments begin that have a text for each row

Row = tuple[Any, ...]  # of each output one prompt's part: a tensor with a first axis of length 1, or None


def caches_text(pipe: Any, family: Family) -> bool:
    return family.is_proved and family.caches_text and hasattr(pipe, "encode_prompt")


class EncodedPrompts:
    """(prompts and other arguments of `encode_prompt`) -> what it returns, with a row for each prompt."""

    def __init__(self, pipe: Any, family: Family) -> None:
        self._encode, self._shared = pipe.encode_prompt, family.shared_text
        self._signature = inspect.signature(self._encode)
        self._pipe = pipe
        self._rows: OrderedDict[Hashable, Row] = OrderedDict()
        self._num_bytes = 0
        self._is_off = False  # once an output is seen that has no row for each prompt
        self.loras: Active = ()  # that the text encoders compute with now
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
        if self._is_off or "prompt" not in texts or not all(map(_is_plain, others.values())):
            return self._encode(*args, **kwargs)
        keys = self._keys(texts, others)
        places = self._missing(keys)
        if places:
            rows = self._encoded({name: [value[place] for place in places] for name, value in texts.items()}, others)
            if rows is None:
                self._is_off = True
                return self._encode(*args, **kwargs)
            for place, row in zip(places, rows, strict=True):
                self._keep(keys[place], row)
        found = [self._rows[key] for key in keys]
        self._forget(keys)
        return tuple(_joined(parts, number in self._shared) for number, parts in enumerate(zip(*found, strict=True)))

    def clear(self) -> None:
        self._rows.clear()
        self._num_bytes = 0

    def _keys(self, texts: Mapping[str, Sequence[str]], others: Mapping[str, Any]) -> list[Hashable]:
        values = ((name, tuple(value) if isinstance(value, list) else value) for name, value in others.items())
        common = (self.loras, tuple(sorted(values, key=itemgetter(0))))
        return [(common, tuple(zip(texts, row, strict=True))) for row in zip(*texts.values(), strict=True)]

    def _missing(self, keys: Sequence[Hashable]) -> list[int]:
        """Places of rows that are not kept, as many as there are keys: the last of them is repeated. None or all."""
        places = list({key: place for place, key in enumerate(keys) if key not in self._rows}.values())
        return [*places, *places[-1:] * (len(keys) - len(places))]

    def _encoded(self, texts: Mapping[str, list[str]], others: Mapping[str, Any]) -> list[Row] | None:
        """A row for each prompt; None where an output has none."""
        count = len(texts["prompt"])
        outputs = self._encode(**texts, **others)
        if not isinstance(outputs, tuple):
            return None
        split = [_split(output, count, number in self._shared) for number, output in enumerate(outputs)]
        whole = [parts for parts in split if parts is not None]
        return list(zip(*whole, strict=True)) if len(whole) == len(split) else None

    def _keep(self, key: Hashable, row: Row) -> None:
        if key not in self._rows:
            self._rows[key] = row
            self._num_bytes += _num_bytes(row)

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


def _split(output: Any, count: int, is_shared: bool) -> list[Any] | None:
    """One part for each prompt; None where the output has no row for each."""
    if output is None or is_shared:
        return [output] * count
    if isinstance(output, list) and len(output) == count:
        return [[each] for each in output]
    if isinstance(output, torch.Tensor) and output.ndim and len(output) == count:
        return [part.clone() for part in output.split(1)]
    return None


def _joined(parts: Sequence[Any], is_shared: bool) -> Any:
    """The parts of prompts as one output, which the pipeline may change."""
    if parts[0] is None:
        assert not any(part is not None for part in parts), "prompts that share a call have masks, or none has"
        return None
    if is_shared:
        return parts[0].clone()
    if isinstance(parts[0], list):
        return [each.clone() for part in parts for each in part]
    return torch.cat(list(parts))


def _num_bytes(row: Row) -> int:
    tensors = [each for part in row for each in (part if isinstance(part, list) else [part]) if each is not None]
    return sum(tensor.nbytes for tensor in tensors)
