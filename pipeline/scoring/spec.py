"""Everything a scorer is made from: small, picklable, and without a secret."""

from dataclasses import dataclass

from pipeline.features.opening import load_extractor
from pipeline.features.spec import ExtractorSpec
from pipeline.scoring.scorer import Scorer
from pipeline.storage.opening import open_store
from pipeline.storage.store import StoreSpec


@dataclass(frozen=True)
class ScorerSpec:
    """Calling it makes the scorer, in the process that will use it."""

    extractors: tuple[ExtractorSpec, ...]
    store: StoreSpec

    def __call__(self) -> Scorer:
        return Scorer(lambda: [load_extractor(spec) for spec in self.extractors], open_store(self.store))
