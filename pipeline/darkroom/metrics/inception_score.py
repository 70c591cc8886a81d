"""Inception score from class probabilities. Knows no Inception."""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from darkroom.domain.errors import DarkroomError
from darkroom.metrics.features import checked


@dataclass(frozen=True)
class InceptionScore:
    """Mean and standard deviation (ddof=0) over the splits."""

    mean: float
    std: float


def inception_score(probabilities: np.ndarray, num_splits: int = 10) -> InceptionScore:
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
