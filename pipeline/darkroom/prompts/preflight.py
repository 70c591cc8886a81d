"""Prompts looked at as a whole before they are rendered: lengths, repeats, balance, languages, words of a list.

Above `MOST_ROWS` rows, that many are looked at: drawn at random, or of a template whose rows are indexed evenly spread.
"""

import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import Any

from darkroom.domain.records import PromptRow
from darkroom.prompts.dataset import PromptDataset, SourceDataset, with_rows
from darkroom.prompts.selection import Selection
from darkroom.prompts.template import TemplateSource

MOST_ROWS = 100_000
_MOST_OF_LANGUAGE = 20_000  # some thousands are told in a second
_BLOCK_ROWS, _NUM_PLACES = 1000, 100  # read at once; of which an indexed template's rows are taken
_NUM_BINS, _NUM_EXAMPLES, _NUM_VALUES = 16, 8, 12
_MOST_DISTINCT = 1000  # values of a column that is counted; one of more is of texts or names
_ALIKE, _NUM_HASHES, _NUM_BANDS = 0.8, 128, 16  # Jaccard similarity of words and pairs of words, by MinHash
_SURE = 0.5  # of a language
_USUAL = 0.98  # share of prompts whose lengths are told apart; the last bin has all that are longer
_WORDS = re.compile(r"\w+")
EXTRA = "pip install 'darkroom[preflight]'"

Lengths = Callable[[list[str]], list[int]]
Row = tuple[PromptRow, Mapping[str, Any]]  # with its extra columns


@dataclass(frozen=True)
class Encoder:
    """A text encoder's tokenizer."""

    name: str
    count: Lengths  # tokens of texts
    limit: int  # that are read


@dataclass
class Examples:
    """A count with the first few cases of it."""

    count: int = 0
    cases: list[Any] = field(default_factory=list)

    def add(self, case: Any) -> None:
        self.count += 1
        if len(self.cases) < _NUM_EXAMPLES:
            self.cases.append(case)


def looked_at(dataset: PromptDataset) -> Iterator[Row]:
    """Valid rows with their extra columns: all, or `MOST_ROWS` of them."""
    num_rows = dataset.scan(1).num_rows
    blocks: Iterable[Any] = dataset.blocks(block_rows=_BLOCK_ROWS)
    if num_rows > MOST_ROWS:
        assert isinstance(dataset, SourceDataset)
        only = dataset.sources[0]
        if isinstance(only, TemplateSource) and only.indexed:
            size = MOST_ROWS // _NUM_PLACES
            starts = (place * (num_rows - size) // (_NUM_PLACES - 1) for place in range(_NUM_PLACES))
            blocks = (next(dataset.blocks(start, size)) for start in starts)
        else:
            blocks = with_rows(dataset, Selection(sample=MOST_ROWS)).blocks(block_rows=_BLOCK_ROWS)
    for block in blocks:
        extras = block.extras.to_pylist() if block.extras.num_columns else [{}] * len(block.rows)
        yield from (pair for pair in zip(block.rows, extras, strict=True) if not pair[0].error)


def preflight(
    dataset: PromptDataset, encoders: Sequence[Encoder], words: Sequence[str], text_of: Callable[[PromptRow], str]
) -> dict[str, Any]:
    """What is found, as JSON. `text_of`: what of a row is encoded; `words`: those that are looked for."""
    scan = dataset.scan(1)
    return found_in(list(looked_at(dataset)), scan.num_rows, scan.num_invalid, encoders, words, text_of)


def found_in(
    rows: Sequence[Row],
    num_rows: int,
    num_invalid: int,
    encoders: Sequence[Encoder],
    words: Sequence[str],
    text_of: Callable[[PromptRow], str],
) -> dict[str, Any]:
    """The same of these valid rows, out of `num_rows`."""
    prompts, texts = [row.prompt for row, _ in rows], [text_of(row) for row, _ in rows]
    return {
        "num_rows": num_rows,
        "num_invalid": num_invalid,
        "num_looked_at": len(rows),
        "lengths": _all_lengths(encoders, texts),
        "repeats": _repeats(prompts),
        "near_repeats": _near_repeats(prompts),
        "balance": [each for each in _balance(rows) if each],
        "languages": _languages(prompts[:: max(1, len(prompts) // _MOST_OF_LANGUAGE)]),
        "words": _found_words(rows, words) if words else None,
    }


def _all_lengths(encoders: Sequence[Encoder], texts: list[str]) -> list[dict[str, Any]]:
    """Encoders that count alike are told together, as the two CLIPs of a model."""
    found: list[dict[str, Any]] = []
    for lengths in (_lengths(encoder, texts) for encoder in encoders):
        same = next((each for each in found if each == lengths | {"encoder": each["encoder"]}), None)
        if same:
            same["encoder"] += f", {lengths['encoder']}"
        else:
            found.append(lengths)
    return found


def _lengths(encoder: Encoder, texts: list[str]) -> dict[str, Any]:
    counts: list[int] = []
    for start in range(0, len(texts), _BLOCK_ROWS):
        counts += encoder.count(texts[start : start + _BLOCK_ROWS])
    usual = sorted(counts)[int(_USUAL * (len(counts) - 1))] if counts else 0
    width = -(-(usual + 1) // _NUM_BINS)
    bins = Counter(min(count // width, _NUM_BINS) for count in counts)
    places = range(min(bins, default=0), max(bins, default=-1) + 1)
    longest = sorted(range(len(texts)), key=counts.__getitem__, reverse=True)[:_NUM_EXAMPLES]
    return {
        "encoder": encoder.name,
        "limit": encoder.limit,
        "num_truncated": sum(count > encoder.limit for count in counts),
        "histogram": [
            [each * width, None if each == _NUM_BINS else (each + 1) * width - 1, bins[each]] for each in places
        ],
        "longest": [[counts[place], texts[place]] for place in longest if counts[place] > encoder.limit],
    }


def _repeats(prompts: Sequence[str]) -> dict[str, Any]:
    """Prompts that an earlier row has, but for case and white space."""
    counts, first = Counter[str](), dict[str, str]()
    for prompt in prompts:
        same = " ".join(prompt.casefold().split())
        counts[same] += 1
        first.setdefault(same, prompt)
    most = [[count, first[same]] for same, count in counts.most_common(_NUM_EXAMPLES) if count > 1]
    return {"num_rows": len(prompts) - len(counts), "examples": most}


def _near_repeats(prompts: Sequence[str]) -> dict[str, Any] | None:
    """Prompts of other words than every earlier one, and nearly the words of one; None: rensa is not installed."""
    if importlib.util.find_spec("rensa") is None:
        return None
    from rensa import RMinHash, RMinHashLSH

    index = RMinHashLSH(threshold=_ALIKE, num_perm=_NUM_HASHES, num_bands=_NUM_BANDS)
    known: dict[int, tuple[str, Any]] = {}
    seen, found = set[tuple[str, ...]](), Examples()
    for place, prompt in enumerate(prompts):
        words = tuple(_WORDS.findall(prompt.casefold()))
        if words in seen or not words:
            continue
        seen.add(words)
        hashed = RMinHash(num_perm=_NUM_HASHES, seed=0)
        hashed.update([*words, *(f"{left} {right}" for left, right in pairwise(words))])
        near = next((each for each in index.query(hashed) if known[each][1].jaccard(hashed) >= _ALIKE), None)
        if near is not None:
            found.add([known[near][0], prompt])
        index.insert(place, hashed)
        known[place] = (prompt, hashed)
    return {"num_rows": found.count, "alike": _ALIKE, "examples": found.cases}


def _balance(rows: Sequence[Row]) -> Iterator[dict[str, Any] | None]:
    """Values of columns, of settings and of others, with how many rows have each."""
    counts: dict[str, Counter[str]] = {}
    for row, extras in rows:
        for name, value in (*row.overrides, *extras.items()):
            if value is not None and isinstance(value, str | int | float | bool):
                column = counts.setdefault(name, Counter())
                if len(column) <= _MOST_DISTINCT:
                    column[str(value)] += 1
    for name, column in counts.items():
        if len(column) <= min(_MOST_DISTINCT, max(_NUM_VALUES, len(rows) // 2)):
            most = [[value, count] for value, count in column.most_common(_NUM_VALUES)]
            yield {
                "column": name,
                "num_values": len(column),
                "num_null": len(rows) - sum(column.values()),
                "values": most,
            }


def _languages(prompts: Sequence[str]) -> dict[str, Any] | None:
    """None: py3langid is not installed."""
    if importlib.util.find_spec("py3langid") is None:
        return None
    identifier = _identifier()
    found: dict[str, Examples] = {}
    for prompt in prompts:
        language, share = identifier.classify(prompt)
        found.setdefault(language if share >= _SURE else "unsure", Examples()).add(prompt)
    order = sorted(found.items(), key=lambda pair: -pair[1].count)
    return {
        "num_looked_at": len(prompts),
        "languages": [[name, each.count, each.cases[:2]] for name, each in order[:_NUM_VALUES]],
    }


@cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)


def _found_words(rows: Sequence[Row], words: Sequence[str]) -> dict[str, Any]:
    """Prompts that hold words of a list, whole and in any case; those that lie in longer ones too."""
    listed = {" ".join(word.casefold().split()) for word in words}
    longest = "|".join(map(re.escape, sorted(listed, key=len, reverse=True)))
    pattern = re.compile(rf"(?<!\w)(?=({longest})(?!\w))")  # looks at every place
    by_word: dict[str, Examples] = {}
    num_rows = 0
    for row, _ in rows:
        phrases = set(pattern.findall(" ".join(row.prompt.casefold().split())))
        found = {part for phrase in phrases for part in _beginnings(phrase) if part in listed}
        num_rows += bool(found)
        for word in found:
            by_word.setdefault(word, Examples()).add([row.row, row.prompt])
    order = sorted(by_word.items(), key=lambda pair: -pair[1].count)
    return {
        "num_rows": num_rows,
        "num_listed": len(listed),
        "found": [[word, each.count, each.cases[:2]] for word, each in order[:_NUM_VALUES]],
    }


def _beginnings(phrase: str) -> Iterator[str]:
    """Of whole words; the last is all of it."""
    return (phrase[: end.start()] for end in re.finditer(r"(?!\w)", phrase))
