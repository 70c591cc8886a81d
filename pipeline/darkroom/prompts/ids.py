"""Prompt ids: what names a row when its file does not.

A row without an id is named by what it says, so that the order of rows never changes an image; rows that say the same
are told apart by their occurrence. Knows checked columns; reads nothing itself.
"""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.identity import digest
from darkroom.prompts.checks import Checked
from darkroom.prompts.columns import OVERRIDES, TEXT
from darkroom.prompts.repeats import KEYED

_KEY_BYTES = 16


def row_digest(prompt: str, said: Mapping[str, object], occurrence: int = 0) -> str:
    """Name of a row by what it says: its prompt and the settings that it overrides."""
    return digest("prompt", prompt, dict(said), *([occurrence] if occurrence else []))


def invalid_digest(row: int, prompt: str) -> str:
    """Name of a row that cannot be rendered: its place counts, since it may say nothing at all."""
    return digest("invalid prompt", row, prompt)


def sayings(checked: Checked) -> Iterator[tuple[str, dict[str, object]]]:
    """Prompt and overriding values of every row, nulls left out."""
    prompts = checked.columns["prompt"].to_pylist()
    named = [(name, checked.columns[name].to_pylist()) for name in _overriding(checked)]
    for row, prompt in enumerate(prompts):
        yield prompt or "", {name: cells[row] for name, cells in named if cells[row] is not None}


def given_ids(checked: Checked) -> list[str | None]:
    if "prompt_id" not in checked.columns:
        return [None] * len(checked)
    return checked.columns["prompt_id"].to_pylist()


def row_keys(start: int, checked: Checked) -> np.ndarray:
    """A KEYED record for each row that another one may be named as: equal keys where ids, or what is said, are equal.

    A row that cannot be rendered and has no id is named by its place, which it shares with nobody.
    """
    said, own = _said(checked), checked.columns.get("prompt_id")
    rows = np.arange(start, start + len(checked))
    named = np.ones(len(checked), bool)
    named[list(checked.faults)] = False
    if own is not None:
        said = pc.coalesce(pc.binary_join_element_wise("#", own, ""), said)
        named |= own.is_valid().to_numpy(zero_copy_only=False)
    return keyed(rows[named], said.cast(pa.binary()).filter(pa.array(named)).to_pylist())


def keyed(rows: np.ndarray, texts: list[bytes]) -> np.ndarray:
    """KEYED records: 128 bits of each text, with its row."""
    digests = b"".join([hashlib.blake2b(text, digest_size=_KEY_BYTES).digest() for text in texts])
    records = np.empty(len(rows), KEYED)
    records["high"], records["low"] = np.frombuffer(digests, np.uint64).reshape(-1, 2).T
    records["row"] = rows
    return records


def _said(checked: Checked) -> pa.Array:
    """What a row says, as one text that no other saying has: `height=64;seed=5;|the prompt`."""
    settings = [_setting(name, checked.columns[name]) for name in _overriding(checked)]
    return pc.binary_join_element_wise(*settings, "|", pc.fill_null(checked.columns["prompt"], ""), "")


def _setting(name: str, values: pa.Array) -> pa.Array:
    """Text is led by its length, since it may hold anything; null says nothing."""
    length = [pc.binary_length(values).cast(pa.string()), ":"] if name in TEXT else []
    return pc.fill_null(pc.binary_join_element_wise(f"{name}=", *length, values.cast(pa.string()), ";", ""), "")


def _overriding(checked: Checked) -> list[str]:
    """Columns of settings in which some row says something, in one order for all blocks."""
    present = [name for name in OVERRIDES if name in checked.columns]
    return [name for name in present if checked.columns[name].null_count < len(checked)]
