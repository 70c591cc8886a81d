"""Rows beside the cells' of images whose quality is known, so that a metric's floor and ceiling can be read off.

"real" is the reference against itself: as many of its images as a cell has, against its others; where references have
names each has such a row, as "real@photos". "shuffled prompts" is a cell's images, each with the caption of another
prompt. They rank nothing, and no cell is compared with them.
"""

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from darkroom.domain.identity import digest
from darkroom.evaluation.catalogue import definition
from darkroom.evaluation.figures import AGAINST, Control, reference_of
from darkroom.evaluation.inputs import Logits, MetricInputs, References, ReferenceSet, by_name, numbered
from darkroom.evaluation.measuring import chosen_metrics, figures_of
from darkroom.evaluation.moments import FeatureMoments, Gaussian, unit_rows
from darkroom.evaluation.resampling import sample_keys, subset
from darkroom.evaluation.sliced_wasserstein import NUM_PROJECTIONS
from darkroom.runs.features import ExtractorInfo, ImageFeatures, PairedFeatures

_OF_ONE_PROMPT = "no row: most of the images that have features are of one prompt"
REAL, SHUFFLED = "real", "shuffled prompts"  # names of the rows
_MOST_SHUFFLED = 1000  # images: the mean of their scores varies little, and their captions are to be read anew
_MOST_RESCORED = 100  # images of a scorer, each of which is scored anew
_FEWEST = 2  # images of either part of a reference


@dataclass(frozen=True, eq=False)
class _Part:
    """Some of a reference's images: a ReferenceSet."""

    name: str
    digest: str
    ids: tuple[str, ...]
    features: np.ndarray  # (n, d)
    prompts: tuple[str, ...] | None

    @property
    def gaussian(self) -> Gaussian:
        return FeatureMoments.of(self.features).gaussian()


def real_control(
    num_images: int,
    extractor: ExtractorInfo,
    reference: ReferenceSet,
    metrics: Sequence[str] | None,
    clip_convention: str,
    seed: int,
    logits: Logits | None = None,
    named: str = "",
    num_projections: int = NUM_PROJECTIONS,
) -> Control:
    """Of `num_images` of the reference, or of its half where that is less, against its other images.

    Who is on which side depends on the images' prompts where they are known, on their ids and the seed: a prompt's
    images are on one side, but for those of one prompt. `metrics` as `measuring.figures_of` takes them; those against
    another reference than this one, which is called `named`, are left out.
    """
    if reference.features is None:
        return Control({}, f"no row: {reference.name} holds statistics alone; give images, to have their own figures")
    total = len(reference.features)
    count = min(num_images, total // 2)
    if num_images < _FEWEST:
        return Control({}, f"no row: cells have {num_images} image(s), too few to measure as many of {reference.name}")
    if count < _FEWEST:
        return Control({}, f"no row: {reference.name} has {total:,} images, too few to measure some against others")
    order = _order(reference, seed)
    held, others = (_part(reference, rows) for rows in (order[:count], order[count:]))
    unknown, no_captions = np.full(count, np.nan, np.float32), np.zeros(count, bool)
    images = ImageFeatures(tuple(numbered(held.ids)), held.features, unknown, no_captions)
    what = (images, {named: others}, clip_convention, seed, logits)
    inputs = MetricInputs(*what, prompts=held.prompts, num_projections=num_projections)
    of_this = metrics and [name for name in metrics if reference_of(name) in ("", named)]
    chosen = chosen_metrics(of_this, extractor, {named: reference})
    names = [name for name in chosen if not definition(name, extractor).needs_captions]
    why = f", half of the {total:,} that there are," if count < num_images else ""
    note = f"{count:,} images of {reference.name}{why} against its other {total - count:,}"
    return _control(inputs, extractor, names, note)


def shuffled_control(
    cell: PairedFeatures,
    captions: Sequence[str],
    caption_features: Callable[[Sequence[str]], np.ndarray],
    extractor: ExtractorInfo,
    metrics: Sequence[str] | None,
    reference: References,
    clip_convention: str,
    seed: int,
) -> Control:
    """Of a cell's images, at most 1,000 of them chosen by their ids, each with the caption of another prompt.

    `captions`: one an image, as the extractor read it; `caption_features`: captions to (n, d) of unit length.
    """
    chosen = chosen_metrics(metrics, extractor, by_name(reference))
    names = [name for name in chosen if definition(name, extractor).needs_captions]
    rows = _rows(cell, _MOST_SHUFFLED, seed)
    own = [captions[row] for row in rows]
    places = _of_other_prompts(own)
    if places is None:
        return Control({}, _OF_ONE_PROMPT)
    texts = sorted(set(own))
    read = dict(zip(texts, caption_features(texts), strict=True))
    others = np.stack([read[own[place]] for place in places])
    images = cell.images.taken(rows.tolist())
    cosines = np.einsum("nd,nd->n", unit_rows(images.features), others).astype(np.float32)
    inputs = MetricInputs(replace(images, cosines=cosines), None, clip_convention, seed, prompts=own)
    return _control(inputs, extractor, names, _shuffled_note(len(rows)))


def rescored_control(
    cell: PairedFeatures,
    rescore: Callable[[Sequence[tuple[str, str]]], np.ndarray],
    extractor: ExtractorInfo,
    metrics: Sequence[str],
    clip_convention: str,
    seed: int,
) -> Control:
    """The same of a scorer that reads prompts: of at most 100 of a cell's images, each scored with another's prompt.

    `rescore`: (image_id, that of the image whose prompt it gets) to (n, d) scores, NaN where one does not apply.
    """
    rows = _rows(cell, _MOST_RESCORED, seed)
    own = [cell.prompts[row] for row in rows]
    places = _of_other_prompts(own)
    if places is None:
        return Control({}, _OF_ONE_PROMPT)
    images = cell.images.taken(rows.tolist())
    scores = rescore([(images.image_ids[place], images.image_ids[other]) for place, other in enumerate(places)])
    inputs = MetricInputs(replace(images, features=scores), None, clip_convention, seed, prompts=own)
    return _control(inputs, extractor, metrics, _shuffled_note(len(rows)))


def _rows(cell: PairedFeatures, most: int, seed: int) -> np.ndarray:
    """Of some images, chosen by their ids."""
    keys = sample_keys(cell.images.image_ids, len(cell.pairs), seed, "shuffled prompts")
    return subset(keys, 0, min(most, len(keys)))


def _shuffled_note(count: int) -> str:
    return f"{count:,} images of the first cell, each with another one's prompt"


def real_row(reference: str) -> str:
    """What the row of a reference of this name is called."""
    return f"{REAL}{AGAINST}{reference}" if reference else REAL


def reads_captions(metrics: Collection[str], extractor: ExtractorInfo) -> bool:
    """Some metric asks how well images fit their captions."""
    return any(definition(name, extractor).needs_captions for name in metrics)


def merged(one: Control, other: Control) -> Control:
    """One row of two extractors' figures."""
    return Control({**one.figures, **other.figures}, "; ".join(dict.fromkeys((one.note, other.note))))


def _control(inputs: MetricInputs, extractor: ExtractorInfo, metrics: Sequence[str], note: str) -> Control:
    found = figures_of(inputs, extractor, metrics).figures if metrics else {}
    return Control({name: replace(figure, is_ranked=False) for name, figure in found.items()}, note)


def _order(reference: ReferenceSet, seed: int) -> np.ndarray:
    """(m,) rows in a random order in which images of one prompt stand together."""
    keys = sample_keys(numbered(reference.ids), len(reference.ids), seed, "real")
    if reference.prompts is None:
        return subset(keys, 0, len(keys))
    of_prompts = {prompt: int(digest("real", seed, prompt, length=16), 16) for prompt in set(reference.prompts)}
    return np.lexsort((keys, np.array([of_prompts[prompt] for prompt in reference.prompts], np.uint64)))


def _part(reference: ReferenceSet, rows: np.ndarray) -> _Part:
    assert reference.features is not None
    ids = tuple(reference.ids[row] for row in rows)
    prompts = None if reference.prompts is None else tuple(reference.prompts[row] for row in rows)
    return _Part(reference.name, digest("part", reference.digest, *ids), ids, reference.features[rows], prompts)


def _of_other_prompts(prompts: Sequence[str]) -> np.ndarray | None:
    """(n,) places, a permutation that gives no image its own prompt; None where one prompt has more than half.

    Of images in order of their prompts each takes that of the one as many places on as the most frequent prompt has
    images.
    """
    most = max(Counter(prompts).values(), default=1)
    if 2 * most > len(prompts):
        return None
    order = np.array(sorted(range(len(prompts)), key=lambda place: (prompts[place], place)))
    found = np.empty(len(prompts), np.int64)
    found[order] = np.roll(order, -most)
    return found
