"""Chooses a few of many images while they go by, in little memory. The choice depends on ids and scores alone.

Knows neither files nor pages: what it keeps is where an image's record lies.
"""

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from darkroom.domain.identity import digest
from darkroom.runs.keys import ManifestName


@dataclass(frozen=True, slots=True)
class Seen:
    """One image as it goes by: who it is, and where its record lies."""

    image_id: str
    prompt_id: str
    sample_index: int
    manifest: ManifestName
    index: int  # row of the manifest
    score: float | None = None


@dataclass
class PromptChoice:
    """The prompts whose ids have the lowest digests, with their images in every cell: chance, the same each time."""

    num_prompts: int
    num_samples: int  # images of a prompt and cell, at most
    is_all: bool = True  # whether no prompt was left out
    _ranks: list[tuple[str, str]] = field(default_factory=list)  # (digest, prompt_id), lowest first
    _images: dict[str, list[Seen]] = field(default_factory=lambda: defaultdict(list))

    def add(self, seen: Seen) -> None:
        if seen.sample_index >= self.num_samples or not self._is_chosen(seen.prompt_id):
            return
        self._images[seen.prompt_id].append(seen)

    def images(self) -> Iterator[Seen]:
        return (seen for found in self._images.values() for seen in found)

    def _is_chosen(self, prompt_id: str) -> bool:
        if prompt_id in self._images:
            return True
        rank = (digest("report", prompt_id, length=16), prompt_id)
        if len(self._ranks) == self.num_prompts:
            self.is_all = False
            if rank > self._ranks[-1]:
                return False
            self._images.pop(self._ranks.pop()[1])
        insort(self._ranks, rank)
        return True


@dataclass
class Extremes:
    """The images with the highest scores, or the lowest, at most one of each prompt."""

    count: int
    sign: int  # 1: the highest, -1: the lowest
    _best: dict[str, Seen] = field(default_factory=dict)  # by prompt_id
    _bar: float = float("-inf")  # merit of the last one

    def add(self, seen: Seen) -> None:
        if len(self._best) == self.count and self._merit(seen) <= self._bar:
            return
        known = self._best.get(seen.prompt_id)
        if known is None or self._merit(seen) > self._merit(known):
            self._best[seen.prompt_id] = seen
        kept = self.images()[: self.count]
        self._best = {image.prompt_id: image for image in kept}
        self._bar = self._merit(kept[-1])

    def images(self) -> list[Seen]:
        """The most extreme first; equal ones by their ids."""
        return sorted(self._best.values(), key=lambda seen: (-self._merit(seen), seen.image_id))

    def _merit(self, seen: Seen) -> float:
        assert seen.score is not None
        return self.sign * seen.score


@dataclass
class Subsample:
    """At most `count` images: those with the lowest ids, which are digests."""

    count: int
    num_seen: int = 0
    images: list[Seen] = field(default_factory=list)  # in order of their ids

    def add(self, seen: Seen) -> None:
        self.num_seen += 1
        if len(self.images) == self.count:
            if seen.image_id > self.images[-1].image_id:
                return
            self.images.pop()
        insort(self.images, seen, key=lambda other: other.image_id)


def middle(images: list[Seen], count: int) -> list[Seen]:
    """Those nearest to the images' median score, at most one of each prompt; the highest first."""
    scores = sorted(seen.score for seen in images if seen.score is not None)
    if not scores:
        return []
    median = scores[len(scores) // 2]
    nearest = sorted(images, key=lambda seen: (abs((seen.score or 0.0) - median), seen.image_id))
    kept: dict[str, Seen] = {}
    for seen in nearest:
        kept.setdefault(seen.prompt_id, seen)
        if len(kept) == count:
            break
    return sorted(kept.values(), key=lambda seen: (-(seen.score or 0.0), seen.image_id))
