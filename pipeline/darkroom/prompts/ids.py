"""Prompt ids: what names a row when its source does not, and which ids are not a row's alone.

A row without an id is named by its content (its prompt and the settings that it overrides), so that the order of rows
never changes an image; rows of equal content are told apart by their occurrence.
"""

import hashlib
from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from darkroom.domain.identity import digest
from darkroom.prompts.checks import CheckedBlock
from darkroom.prompts.columns import OVERRIDES, TEXT
from darkroom.prompts.repeats import KEYED, REPEATED, RepeatedRows
from darkroom.prompts.sources import Fault, shown

_KEY_BYTES = 16


def row_digest(prompt: str, overrides: Mapping[str, object], occurrence: int = 0) -> str:
    """Name of a row by its content; `occurrence` counts the earlier rows of the same content."""
    return digest("prompt", prompt, dict(overrides), *([occurrence] if occurrence else []))


def invalid_digest(row: int, prompt: str) -> str:
    """Name of a row that cannot be rendered: its place counts, since it may be empty."""
    return digest("invalid prompt", row, prompt)


def given_ids(checked: CheckedBlock) -> list[str | None]:
    """The ids that rows have from their source; None of a row without one."""
    if "prompt_id" not in checked.columns:
        return [None] * len(checked)
    ids: list[str | None] = checked.columns["prompt_id"].to_pylist()
    return ids


def final_ids(start: int, checked: CheckedBlock, repeats: RepeatedRows, clashes: RepeatedRows) -> list[str]:
    """The id of every row of a block; adds a fault for a given id that is not the row's alone.

    `repeats` are rows of equal ids or equal content, `clashes` rows whose given id is another's digest.
    """
    given, stop = given_ids(checked), start + len(checked)
    others = clashes.within(start, stop) | repeats.within(start, stop)
    names = []
    for position, (prompt, overrides) in enumerate(_contents(checked)):
        row, name = start + position, given[position]
        count, first = others.get(row, (0, None))
        if name is not None and first is not None:
            checked.faults.setdefault(position, duplicate(name, first))
            name = None
        if name is None and position in checked.faults:
            name = invalid_digest(row, prompt)
        names.append(row_digest(prompt, overrides, count) if name is None else name)
    return names


def duplicate(given: str, first: int) -> Fault:
    """A row whose id is another's too."""
    return Fault("prompt_id", "duplicate", f"{shown(given)} is the id of row {first} too")


def row_keys(start: int, checked: CheckedBlock) -> np.ndarray:
    """A KEYED record for each row that another one may be named as: equal keys where ids, or contents, are equal.

    A row that cannot be rendered and has no id is named by its place, which it shares with nobody.
    """
    contents, given = _content_keys(checked), checked.columns.get("prompt_id")
    rows = np.arange(start, start + len(checked))
    named = np.ones(len(checked), bool)
    named[list(checked.faults)] = False
    if given is not None:
        contents = pc.coalesce(pc.binary_join_element_wise("#", given, ""), contents)
        named |= given.is_valid().to_numpy(zero_copy_only=False)
    return keyed(rows[named], contents.cast(pa.binary()).filter(pa.array(named)).to_pylist())


def keyed(rows: np.ndarray, texts: list[bytes]) -> np.ndarray:
    """KEYED records: 128 bits of each text, with its row."""
    digests = b"".join([hashlib.blake2b(text, digest_size=_KEY_BYTES).digest() for text in texts])
    records = np.empty(len(rows), KEYED)
    records["high"], records["low"] = np.frombuffer(digests, np.uint64).reshape(-1, 2).T
    records["row"] = rows
    return records


def name_keys(start: int, names: list[str], given: list[str | None]) -> np.ndarray:
    """KEYED records of rows' final names; twice the row, plus one where the name is the id that was given."""
    is_given = np.array([name == given_id for name, given_id in zip(names, given, strict=True)])
    return keyed(2 * np.arange(start, start + len(names)) + is_given, [name.encode() for name in names])


def clashing(repeated: np.ndarray) -> np.ndarray:
    """REPEATED records of `name_keys` -> of the rows whose given id is another row's digest.

    Each pairs a row whose id was given with one whose was not; the former is at fault.
    """
    pairs = np.stack([repeated["row"], repeated["first"]])
    pairs = np.where(pairs[0] % 2, pairs, pairs[::-1]) // 2
    found = np.zeros(len(repeated), REPEATED)
    found["row"], found["first"] = pairs
    return found


class RowsDigest:
    """Of what rows say, in order, however they are cut into blocks: their given ids, prompts and overriding settings.

    What records carry beside that is no part of it.
    """

    def __init__(self) -> None:
        self._shas = [(hashlib.sha256(), hashlib.sha256()) for _ in range(2)]  # of texts and their lengths

    def add(self, checked: CheckedBlock, count: int | None = None) -> None:
        """The block's first `count` rows; None: all."""
        given = checked.columns.get("prompt_id", pa.nulls(len(checked), pa.string()))
        for texts, (data, lengths) in zip((given, _content_keys(checked)), self._shas, strict=True):
            some = texts.slice(0, count)
            lengths.update(pc.fill_null(pc.binary_length(some), -1).cast(pa.int64()).to_numpy().tobytes())
            data.update(_joined(some))

    @property
    def text(self) -> str:
        return digest("rows", *(sha.hexdigest() for pair in self._shas for sha in pair), length=64)


def _joined(texts: pa.Array) -> memoryview:
    """The bytes of all of them; null has none."""
    filled = pc.fill_null(texts, "")
    _, places, data = filled.buffers()
    offsets = np.frombuffer(places, np.int32)[filled.offset : filled.offset + len(filled) + 1]
    return memoryview(data or b"")[offsets[0] : offsets[-1]] if len(filled) else memoryview(b"")


def _contents(checked: CheckedBlock) -> Iterator[tuple[str, dict[str, object]]]:
    """Prompt and overriding values of every row, nulls left out."""
    prompts = checked.columns["prompt"].to_pylist()
    named = [(name, checked.columns[name].to_pylist()) for name in _overriding(checked)]
    for row, prompt in enumerate(prompts):
        yield prompt or "", {name: cells[row] for name, cells in named if cells[row] is not None}


def _content_keys(checked: CheckedBlock) -> pa.Array:
    """A row's content as one text that no other content has: `height=64;seed=5;|the prompt`."""
    settings = [_setting(name, checked.columns[name]) for name in _overriding(checked)]
    return pc.binary_join_element_wise(*settings, "|", pc.fill_null(checked.columns["prompt"], ""), "")


def _setting(name: str, values: pa.Array) -> pa.Array:
    """Text is led by its length, since it may hold anything; null is no text at all."""
    length = [pc.binary_length(values).cast(pa.string()), ":"] if name in TEXT else []
    return pc.fill_null(pc.binary_join_element_wise(f"{name}=", *length, values.cast(pa.string()), ";", ""), "")


def _overriding(checked: CheckedBlock) -> list[str]:
    """Columns of settings in which some row has a value, in one order for all blocks."""
    present = [name for name in OVERRIDES if name in checked.columns]
    return [name for name in present if checked.columns[name].null_count < len(checked)]
