"""Metrics that need no reference: the Vendi score, prompt diversity, the Inception score and the CLIP score."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.deletion import entropy_gain_of_group, entropy_gains
from darkroom.evaluation.moments import centred, checked, rank_mask, row_blocks, row_lengths

NUM_SPLITS = 10  # of the Inception score


def vendi_score(features: np.ndarray) -> float:
    """Of (n, d) features under the cosine kernel, in [1, n]: Friedman and Dieng 2023, order q = 1.

    Rows are scaled to unit length first. The kernel's nonzero eigenvalues are those of the (d, d) sum of outer
    products, which is taken where it is the smaller of the two.
    """
    features = checked(features)
    lengths = row_lengths(features)
    if len(features) <= features.shape[1]:
        unit = features / lengths[:, None]
        return vendi_score_of_kernel(unit @ unit.T)
    return _effective_number(np.linalg.eigvalsh(second_moment(features, lengths)))


def second_moment(features: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """(d, d) float64: the mean of u u^T over rows u of unit length."""
    total = np.zeros((features.shape[1], features.shape[1]))
    for rows in row_blocks(*features.shape):
        unit = features[rows] / lengths[rows, None]
        total += unit.T @ unit
    return total / len(features)


def vendi_score_of_kernel(kernel: np.ndarray) -> float:
    """Of an (n, n) positive semidefinite kernel with ones on its diagonal."""
    kernel = checked(kernel, "kernel")
    if kernel.shape[0] != kernel.shape[1] or not np.allclose(np.diagonal(kernel), 1):
        raise DarkroomError(f"kernel: shape {kernel.shape}; give an (n, n) kernel with ones on its diagonal")
    return _effective_number(np.linalg.eigvalsh(kernel / len(kernel)))


def _effective_number(eigenvalues: np.ndarray) -> float:
    """exp of the Shannon entropy; what rounding made negative counts as zero."""
    positive = eigenvalues[eigenvalues > 0]
    return float(np.exp(-(positive * np.log(positive)).sum()))


class Deletions(NamedTuple):
    """What a score of n images of p prompts loses without each prompt's: the jackknife by groups."""

    influence: np.ndarray  # (n,) float64, by prompt of mean 0: see `resampling.by_prompt`
    bias: float  # by how much its logarithm is larger than over endlessly many images, about: Quenouille 1956


def vendi_deletions(features: np.ndarray, prompts: Sequence[str] | None = None) -> Deletions:
    """What the score of (n, d) features loses without each prompt's images, exactly; None: without each image.

    Images that are alike are lost less one by one than together. The bias is that of the score's logarithm.
    """
    features = checked(features)
    lengths, count = row_lengths(features), len(features)
    values, vectors = np.linalg.eigh(second_moment(features, lengths))
    nonzero = rank_mask(values)
    values, vectors = values[nonzero], vectors[:, nonzero]
    entropy = -(values * np.log(values)).sum()
    groups = _rows_of_one(prompts if prompts is not None else range(count))
    without = _entropies_without(features, lengths, groups, values, vectors)
    losses, sizes = np.exp(entropy) - np.exp(without), np.array([len(rows) for rows in groups])
    influence = np.empty(count)
    influence[np.concatenate(groups)] = np.repeat(centred(losses) * (count - sizes) / sizes, sizes)
    return Deletions(influence, float((len(groups) - 1) * (without.mean() - entropy)))


def _rows_of_one(prompts: Sequence[object]) -> list[np.ndarray]:
    """Of each prompt."""
    _, rows, counts = np.unique(np.asarray(prompts), return_inverse=True, return_counts=True)
    return np.split(np.argsort(rows, kind="stable"), np.cumsum(counts)[:-1])


def _entropies_without(
    features: np.ndarray, lengths: np.ndarray, groups: Sequence[np.ndarray], values: np.ndarray, vectors: np.ndarray
) -> np.ndarray:
    """(p,) of the (n, d) features but each group's. Without m rows u of unit length, whose outer products have the mean
    S and S's eigenvalues are `values`, that is S less the sum of u u^T / n, n / (n - m) times."""
    entropy, count = -(values * np.log(values)).sum(), len(features)
    gains = np.empty(len(groups))
    singles = np.array([len(rows) == 1 for rows in groups])
    alone, numbers = np.array([rows[0] for rows in groups])[singles], np.flatnonzero(singles)
    for block in row_blocks(len(alone), features.shape[1]):
        squares = np.square(features[alone[block]] / lengths[alone[block], None] @ vectors)
        gains[numbers[block]] = entropy_gains(values, squares, 1 / count)
    for number in np.flatnonzero(~singles).tolist():
        rows = groups[number]
        unit = features[rows] / lengths[rows, None] @ vectors
        gains[number] = entropy_gain_of_group(values, unit, 1 / count)
    scale = count / (count - np.array([len(rows) for rows in groups]))
    return scale * (entropy + gains) - np.log(scale)


def prompt_diversity(features: np.ndarray, prompts: Sequence[str]) -> tuple[float, np.ndarray]:
    """How far apart a prompt's own images lie: 1 - cos, the distance of Fu et al. 2023 (DreamSim), over all pairs of a
    prompt's images, and the mean of these means over prompts that have several.

    Of (n, d) features with each one's prompt; and (n,) influence values. Pairs of m unit vectors u have the mean cosine
    (|sum u|^2 - m) / (m (m - 1)).
    """
    features = checked(features)
    unit = features / row_lengths(features)[:, None]
    several = [group for group in _rows_of_one(prompts) if len(group) > 1]
    if len(several) < 2:
        raise DarkroomError(f"{len(several)} prompts have several images; render 2 or more of 2 or more prompts")
    sizes = np.array([len(group) for group in several])
    squares = np.array([np.square(unit[group].sum(axis=0)).sum() for group in several])
    distances = 1 - (squares - sizes) / (sizes * (sizes - 1))
    influence = np.zeros(len(features))
    for group, moved in zip(several, distances - distances.mean(), strict=True):
        influence[group] = moved * (len(features) - len(group)) / (len(several) - 1) / len(group)
    return float(distances.mean()), influence


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation (ddof=0) over the splits."""

    mean: float
    std: float


def inception_score(probabilities: np.ndarray, num_splits: int = NUM_SPLITS) -> InceptionScore:
    """exp of the mean KL divergence of p(class | image) from p(class), (n, classes): Salimans et al. 2016.

    Splits are contiguous ranges of rows, so the rows' order matters; give rows in random order, by their ids.
    """
    probabilities = checked(probabilities, "probabilities").astype(np.float64)
    if (probabilities < 0).any() or not np.allclose(probabilities.sum(axis=1), 1, atol=1e-4):
        raise DarkroomError("probabilities: rows that do not add up to 1; give softmax(logits) of logits")
    if not 1 <= num_splits <= len(probabilities):
        raise DarkroomError(f"num_splits: {num_splits} of {len(probabilities)} images; give 1 to the number of images")
    edges = np.arange(num_splits + 1) * len(probabilities) // num_splits
    scores = [_score(probabilities[start:stop]) for start, stop in pairwise(edges)]
    return InceptionScore(float(np.mean(scores)), float(np.std(scores)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, classes) logits to (n, classes) float64 probabilities."""
    logits = checked(logits, "logits").astype(np.float64)
    values = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def _score(probabilities: np.ndarray) -> float:
    """exp of H(mean p) - mean H(p): the mean divergence, written as a difference of entropies."""
    return float(np.exp(_entropies(probabilities.mean(axis=0)) - _entropies(probabilities).mean()))


def _entropies(probabilities: np.ndarray) -> np.ndarray:
    """Over the last axis; 0 log 0 is 0."""
    return -(probabilities * np.log(np.where(probabilities > 0, probabilities, 1))).sum(axis=-1)


@dataclass(frozen=True)
class ClipConvention:
    """One scale on which papers state the CLIP score."""

    words: str  # formula and source
    of_means: Callable[[float, float], float]  # of the mean cosine, and of the mean of cosines that are cut at 0
    of_images: Callable[[np.ndarray], np.ndarray]  # (n,) cosines -> (n,) scores of single images
    image_words: str  # what of_images makes of a cosine


CLIP_CONVENTIONS: Mapping[str, ClipConvention] = {
    "hessel": ClipConvention(
        "mean of 2.5 max(cos, 0) over images; Hessel et al. 2021, without their words before the prompt",
        lambda _mean, mean_cut: 2.5 * mean_cut,
        lambda cosines: 2.5 * np.maximum(cosines, 0),
        "2.5 times, but at least 0,",
    ),
    "x100": ClipConvention(
        "100 x the mean cosine, cut at 0; as torchmetrics",
        lambda mean, _mean_cut: max(0.0, 100 * mean),
        lambda cosines: 100 * cosines,
        "100 times",
    ),
    "mlperf": ClipConvention(
        "100 x the mean cosine; as MLPerf inference, text_to_image",
        lambda mean, _mean_cut: 100 * mean,
        lambda cosines: 100 * cosines,
        "100 times",
    ),
}


def clip_score(cosines: np.ndarray, convention: str) -> float:
    """Of (n,) cosines, one an image with its own prompt, by a convention's name."""
    cosines = np.asarray(cosines, dtype=np.float64)
    if cosines.ndim != 1 or len(cosines) == 0 or not (np.abs(cosines) <= 1 + 1e-3).all():
        raise DarkroomError(f"CLIP score: shape {cosines.shape} is no list of cosines; give (n,) numbers of -1 to 1")
    return clip_score_of_means(float(cosines.mean()), float(np.maximum(cosines, 0).mean()), convention)


def clip_score_of_means(mean: float, mean_cut: float, convention: str) -> float:
    """Of the mean cosine and of the mean of cosines cut at 0, which is all that any convention asks for."""
    return named_convention(convention).of_means(mean, mean_cut)


def image_clip_scores(cosines: np.ndarray, convention: str) -> np.ndarray:
    """(n,) float64: each image's own CLIP score. Their mean is the set's, but where x100 cuts a mean below 0."""
    return named_convention(convention).of_images(np.asarray(cosines, np.float64))


def image_score_range(convention: str) -> tuple[float, float]:
    """Between which an image's own CLIP score lies, as its cosine lies between -1 and 1."""
    low, high = image_clip_scores(np.array([-1.0, 1.0]), convention)
    return float(low), float(high)


def named_convention(name: str) -> ClipConvention:
    """A DarkroomError for a name that is not known."""
    if name not in CLIP_CONVENTIONS:
        raise DarkroomError(f"clip_convention: no {name!r}; take one of {', '.join(CLIP_CONVENTIONS)}")
    return CLIP_CONVENTIONS[name]
