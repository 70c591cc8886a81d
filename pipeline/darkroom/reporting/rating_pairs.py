"""Which pairs of images people are shown: of the same prompt, from two cells, in an order that a seed decides.

One pass over the records, in memory that depends on the number of pairs. Each pair of cells gets as many pairs as any
other, and each pair a prompt of its own as long as there are prompts: what the resampled prompts of an interval are.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.records import OK, Record
from darkroom.reporting.pictures import Row, read_rows
from darkroom.reporting.sampling import ImageRef, PromptChoice
from darkroom.runs.bulk import read_each
from darkroom.runs.listing import committed_shards
from darkroom.runs.ratings import RatedImage, RatedPair
from darkroom.storage.store import Store

_MARGIN = 2  # prompts that are looked at, of those asked for: some may lack an image in a cell
_COLUMNS = ["image_id", "prompt_id", "sample_index", "status"]

Images = Mapping[str, Sequence[ImageRef]]  # cell_id -> a prompt's images in it, by their sample_index
Two = tuple[ImageRef, ImageRef]


@dataclass(frozen=True)
class ChosenPairs:
    """Pairs in the order to show them, and the records of their images."""

    pairs: tuple[RatedPair, ...]
    rows: Mapping[str, tuple[Store, Record]]  # by image_id


def chosen_pairs(cells: Mapping[str, Store], num_pairs: int, num_repeats: int, seed: int) -> ChosenPairs:
    """Of cells by their cell_id, each in its run; fewer where there are not as many. `num_repeats` of them come again.

    Raises DarkroomError where no prompt has an image in two of the cells.
    """
    choice = PromptChoice(_MARGIN * num_pairs, num_pairs, purpose=("rating", seed))
    for cell_id, store in cells.items():
        for image in _images(store, cell_id):
            choice.add(image)
    by_prompt = _by_prompt(choice.images())
    prompts = sorted(by_prompt, key=lambda prompt_id: digest("rated prompt", seed, prompt_id))
    found = list(islice(_pairs([by_prompt[prompt_id] for prompt_id in prompts], list(cells)), num_pairs))
    if not found:
        raise DarkroomError("cells: no prompt has an image in two of them; render the same prompts in each")
    rows = _rows(cells, found)
    pairs = sorted(found, key=lambda pair: digest("rated order", seed, *_ids(pair)))
    shown = [_pair(rows, pair, is_turned=int(digest("rated side", seed, *_ids(pair)), 16) % 2 == 1) for pair in pairs]
    records = {image_id: (cells[row.record.cell_id], row.record) for image_id, row in rows.items()}
    return ChosenPairs(tuple(_with_repeats(shown, num_repeats)), records)


def _images(store: Store, cell_id: str) -> Iterator[ImageRef]:
    for shard, table in read_each(store, committed_shards(store, cell_id), _COLUMNS):
        columns = (table[name].to_pylist() for name in _COLUMNS)
        for index, (image_id, prompt_id, sample_index, status) in enumerate(zip(*columns, strict=True)):
            if status == OK:
                yield ImageRef(image_id, prompt_id, sample_index, shard, index)


def _by_prompt(images: Iterable[ImageRef]) -> dict[str, Images]:
    found: dict[str, dict[str, list[ImageRef]]] = {}
    for image in sorted(images, key=lambda image: image.sample_index):
        found.setdefault(image.prompt_id, {}).setdefault(image.shard.cell_id, []).append(image)
    return dict(found)


def _pairs(prompts: Sequence[Images], cell_ids: Sequence[str]) -> Iterator[Two]:
    """All there are, in the order to take them: a new prompt each, the pairs of cells in turns, while that lasts."""
    twos = list(combinations(cell_ids, 2))
    most = max((len(images) for prompt in prompts for images in prompt.values()), default=0)
    for sample in range(most):
        for turn in range(len(twos)):
            for place, prompt in enumerate(prompts):
                first, second = twos[(place + turn) % len(twos)]
                matched = _matched(prompt.get(first, ()), prompt.get(second, ()))
                yield from matched[sample : sample + 1]


def _matched(first: Sequence[ImageRef], second: Sequence[ImageRef]) -> list[Two]:
    """Images of one sample_index; where no two share it, the first of both."""
    others = {image.sample_index: image for image in second}
    shared = [(image, others[image.sample_index]) for image in first if image.sample_index in others]
    return shared or list(zip(first[:1], second[:1], strict=False))


def _rows(cells: Mapping[str, Store], pairs: Iterable[Two]) -> dict[str, Row]:
    """By image_id, those of one store read at once. Raises DarkroomError where a prompt_id stands for two prompts."""
    pairs = list(pairs)
    images = {image.image_id: image for pair in pairs for image in pair}
    by_uri: dict[str, list[ImageRef]] = {}
    for image in images.values():
        by_uri.setdefault(cells[image.shard.cell_id].spec.uri, []).append(image)
    stores = {store.spec.uri: store for store in cells.values()}
    rows = {image_id: row for uri, own in by_uri.items() for image_id, row in read_rows(stores[uri], own).items()}
    for first, second in pairs:
        one, other = rows[first.image_id].record, rows[second.image_id].record
        if one.prompt != other.prompt:
            raise DarkroomError(
                f"cells: prompt_id {one.prompt_id!r} is {one.prompt[:80]!r} in cell {one.cell_id} and "
                f"{other.prompt[:80]!r} in cell {other.cell_id}; rate runs of one prompt dataset"
            )
    return rows


def _pair(rows: Mapping[str, Row], two: Two, is_turned: bool) -> RatedPair:
    one, other = (rows[image.image_id].record for image in two)
    left, right = (_rated(record) for record in ((other, one) if is_turned else (one, other)))
    return RatedPair(one.prompt, left, right)


def _rated(record: Record) -> RatedImage:
    return RatedImage(record.cell_id, record.image_id, record.sha256 or "")


def _with_repeats(pairs: Sequence[RatedPair], count: int) -> Iterator[RatedPair]:
    """Some of the first half come again in the second, with their sides changed, half of all pairs later."""
    half = len(pairs) // 2
    count = min(count, half)
    again = {(2 * number + 1) * half // (2 * count) for number in range(count)}
    yield from pairs[:half]
    for place, pair in enumerate(pairs[half:]):
        yield pair
        if place in again:
            yield replace(pairs[place], left=pairs[place].right, right=pairs[place].left, repeats=place)


def _ids(pair: Two) -> tuple[str, str]:
    return pair[0].image_id, pair[1].image_id
