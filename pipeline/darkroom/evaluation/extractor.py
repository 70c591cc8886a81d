"""Extractors: what one is made from, and the protocols that all of them follow.

Features are stored raw, as the network gives them: pool3 activations, CLS tokens, projected CLIP embeddings of no set
length. A metric that compares directions (CLIP score, CMMD) normalises them where it uses them; Frechet distances take
them as they are. Raw features serve both, and what normalising takes away could not be had back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from darkroom.runs.features import ExtractorInfo


@dataclass(frozen=True)
class ExtractorPin:
    """An extractor as the job that asks for it found it: what a worker must find too."""

    digests: tuple[tuple[str, str], ...]  # of its files, by their names
    info: ExtractorInfo


@dataclass(frozen=True)
class ExtractorSpec:
    """What an extractor is made from. Small and picklable; one spec makes the same extractor in every process."""

    name: str = "demo_clip"  # one of opening.EXTRACTORS, module:function of a plug-in, or what a command is called
    source: str | None = None  # of the weights: a file, a folder or a hub id; None: where the name's own lie
    resize: str | None = None  # tf1, torch, torch-aa, clean, or dgm-eval of dinov2; None: their processor's, or clean
    device: str = "cpu"  # cpu, cuda or mps
    batch_size: int = 32  # images in every call of the network, padding included
    command: str | None = None  # of a scorer in a process of its own: its program and arguments, as a shell splits them
    files: tuple[str, ...] = ()  # of a command: files and folders that decide its scores and that it does not name
    columns: tuple[str, ...] = ()  # of a command: those of the prompts that it is given beside those it asks for
    lower_is_better: tuple[str, ...] = ()  # of a command: its scores that this is so of, whatever it says itself
    start_timeout_s: float = 600.0  # of a command: until it says what it is
    batch_timeout_s: float = 600.0  # of a command: until it has scored a batch
    alias: str | None = None  # what its figures are called by in place of its name
    options: Mapping[str, Any] | None = None  # of a plug-in, by names of its own
    pin: ExtractorPin | None = None  # None: whatever is there


class Extractor(Protocol):
    """One loaded network."""

    info: ExtractorInfo

    def features(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        """(N, dimension) float32, raw, of N pictures, each (H, W, 3) uint8 RGB of a size of its own; N may be 0.

        A row depends on its picture alone: not on its neighbours, nor on how many there are.
        """
        ...


@runtime_checkable
class CaptionExtractor(Extractor, Protocol):
    """An extractor with a text tower: captions land in the pictures' space."""

    def caption_features(self, captions: Sequence[str]) -> np.ndarray:
        """(N, dimension) float32 of unit length. What a long caption says past the limit is not seen."""
        ...

    def truncated(self, captions: Sequence[str]) -> np.ndarray:
        """(N,) bool: captions with more tokens than the text tower takes, start and end included."""
        ...


@runtime_checkable
class ImageScorer(Protocol):
    """One loaded model that says how good each picture is. Its scores are stored as features are.

    For reward models and the like: `scores` preprocesses and calls the network through `networks.in_batches`, so that
    no score depends on its neighbours; `info` has is_scorer=True, names several scores in `scores`, and digests in
    `weights` what decides them.
    """

    info: ExtractorInfo

    def scores(self, pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
        """(N,) or (N, dimension) float32 of N pictures, each (H, W, 3) uint8 RGB, and their N captions; N may be 0."""
        ...


def has_process(extractor: object) -> bool:
    """Its work is done in a process of its own, for which the thread that calls it only waits."""
    return hasattr(extractor, "start")


def start_scorers(extractors: Iterable[object]) -> None:
    """Start the processes of those that have one. Raises WrongModel where this machine has not what the job has."""
    for extractor in extractors:
        if has_process(extractor):
            extractor.start()  # type: ignore[attr-defined]


def end_scorers(extractors: Iterable[object]) -> None:
    """End the processes of those that have one; any thread may call it, also while one of them is at work."""
    for extractor in extractors:
        if hasattr(extractor, "close"):
            extractor.close()


Scores = Mapping[str, float | None]  # of one picture by their names; None: does not apply to it


@runtime_checkable
class RowScorer(Protocol):
    """A scorer that reads columns of the prompts (`info.columns`), and whose scores need not apply to every picture."""

    info: ExtractorInfo

    def row_scores(self, pictures: Sequence[np.ndarray], rows: Sequence[Mapping[str, Any]]) -> Sequence[Scores | str]:
        """For each of N pictures its scores, or, as a text, why it has none.

        `rows`: of each picture prompt (without weights), prompt_id, sample_index, image_id, and the columns asked for
        under `columns`.
        """
        ...
