"""Everything a scorer is made from: small, picklable, and without a secret."""

from dataclasses import dataclass

from darkroom.features.extractor import ExtractorSpec
from darkroom.features.opening import load_extractor
from darkroom.scoring.scorer import Scorer
from darkroom.storage.opening import open_store
from darkroom.storage.store import StoreSpec


@dataclass(frozen=True)
class ScorerSpec:
    """Calling it makes the scorer, in the process that will use it."""

    extractors: tuple[ExtractorSpec, ...]
    store: StoreSpec

    def __call__(self) -> Scorer:
        return Scorer(lambda: [load_extractor(spec) for spec in self.extractors], open_store(self.store))
