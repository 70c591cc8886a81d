"""What becomes of images by their scores: kept, dropped or made again of another sample; and the best of several.

A prompt with n images has n places. Without `best` each place has one draw; with it, every `keep` places share `of`
draws. Draw d of D is made of sample index d, then d + D, d + 2D, ... while a rule says regenerate. So what a place
ends as depends on its own draws alone: not on the shard, the batch, the order or the worker.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

KEEP, DROP, REGENERATE = "keep", "drop", "regenerate"
USUAL_ATTEMPTS = 5
NO_POLICY = "none"

Scores = Mapping[str, float]  # of one image, by the names of figures; NaN: does not apply to it


@dataclass(frozen=True)
class Rule:
    """What becomes of an image whose score lies above or below a threshold."""

    figure: str
    then: str  # keep (and say so), drop or regenerate
    above: float | None = None  # exactly one of the two is given
    below: float | None = None
    attempts: int = 1  # of regenerate: images that are made in one draw, at most
    otherwise: str = DROP  # what becomes of the draw after that: drop, or keep of the image that came nearest

    @property
    def reason(self) -> str:
        """In words without the score, so that reasons can be counted."""
        side, threshold = ("above", self.above) if self.above is not None else ("below", self.below)
        return f"{self.figure} {side} {str(threshold).removesuffix('.0')}"

    def excess(self, scores: Scores) -> float:
        """How far the score is past the threshold; 0 where it is not, and where no score applies."""
        score = scores[self.figure]
        past = score - self.above if self.above is not None else (self.below or 0.0) - score
        return 0.0 if math.isnan(past) else max(0.0, past)

    def __str__(self) -> str:
        after = f" (at most {self.attempts} images, then {self.otherwise})" if self.then == REGENERATE else ""
        return f"{self.then} where {self.reason}{after}"


@dataclass(frozen=True)
class Best:
    """Of every `of` draws those `keep` with the best score are kept; of equal scores the lower sample index."""

    keep: int
    of: int
    by: str
    higher_is_better: bool

    @property
    def reason(self) -> str:
        return f"not the best {self.keep} of {self.of} by {self.by}"

    def rank(self, scores: Scores, sample_index: int) -> tuple[float, int]:
        """The lowest is the best; an image without a score comes last."""
        score = scores[self.by]
        return (math.inf if math.isnan(score) else -score if self.higher_is_better else score), sample_index

    def __str__(self) -> str:
        return f"keep {self.keep} of {self.of} with the {'highest' if self.higher_is_better else 'lowest'} {self.by}"


@dataclass(frozen=True)
class PolicyFigure:
    """A score of single images that a policy asks for, and what decides it."""

    name: str  # such as nsfw.score
    extractor_id: str
    column: int | None  # of a scorer's features; None: the CLIP score ...
    convention: str = ""  # ... on this scale


@dataclass(frozen=True)
class Policy:
    """Of all images of a run."""

    rules: tuple[Rule, ...]
    best: Best | None
    figures: tuple[PolicyFigure, ...]  # that these ask for
    extractors: tuple[str, ...]  # that measure them, each as a command names it: JSON

    @property
    def extractor_ids(self) -> frozenset[str]:
        return frozenset(figure.extractor_id for figure in self.figures)

    @property
    def choosing(self) -> tuple[PolicyFigure, ...]:
        """Figures by which images are chosen: not those of rules alone that keep what they find."""
        named = {rule.figure for rule in self.rules if rule.then != KEEP} | ({self.best.by} if self.best else set())
        return tuple(figure for figure in self.figures if figure.name in named)

    @property
    def named_extractors(self) -> list[Any]:
        """As a command has them."""
        return [json.loads(text) for text in self.extractors]

    @property
    def entries(self) -> list[dict[str, object]]:
        """As a command has them."""
        return [*(_said(rule) for rule in self.rules), *([_said(self.best)] if self.best else [])]

    @property
    def max_attempts(self) -> int:
        """Images that one draw may take."""
        return max((rule.attempts for rule in self.rules if rule.then == REGENERATE), default=1)

    def num_draws(self, num_places: int) -> int:
        """Of a row with so many images."""
        return num_places if self.best is None else -(-num_places // self.best.keep) * self.best.of

    def __str__(self) -> str:
        """For people."""
        return "; ".join(map(str, [*self.rules, *([self.best] if self.best else [])]))

    @property
    def identity(self) -> str:
        """What fixes its decisions, for people."""
        made = ", ".join(f"{figure.name} of {figure.extractor_id}{_scale(figure)}" for figure in self.figures)
        return f"{self} ({made})"


def _said(entry: Rule | Best) -> dict[str, object]:
    """Without what says nothing, and what follows from the figure."""
    found = {name: value for name, value in asdict(entry).items() if value is not None and name != "higher_is_better"}
    if isinstance(entry, Rule) and entry.then != REGENERATE:
        del found["attempts"], found["otherwise"]
    return found


def _scale(figure: PolicyFigure) -> str:
    return f", {figure.convention}" if figure.convention else ""


@dataclass(frozen=True)
class Verdict:
    """What the rules say of one image."""

    then: str
    rules: tuple[Rule, ...] = ()  # those that say it

    @property
    def reason(self) -> str:
        return ", ".join(rule.reason for rule in self.rules)

    @property
    def attempts(self) -> int:
        """Of regenerate: after so many images it is over."""
        return min(rule.attempts for rule in self.rules)

    @property
    def otherwise(self) -> str:
        """Of regenerate: what becomes of the draw then."""
        return DROP if any(rule.otherwise == DROP for rule in self.rules) else KEEP


def verdict(policy: Policy, scores: Scores) -> Verdict:
    """Of several rules that hold, drop wins over regenerate, and that over keep."""
    holding = [rule for rule in policy.rules if rule.excess(scores) > 0]
    for then in (DROP, REGENERATE):
        if rules := tuple(rule for rule in holding if rule.then == then):
            return Verdict(then, rules)
    return Verdict(KEEP, tuple(holding))


def nearest(policy: Policy, scores: Sequence[Scores]) -> int:
    """Which of several rejected images came nearest to being accepted: by the first rule, then by the next; of equal
    ones the first."""
    excess = [tuple(rule.excess(each) for rule in policy.rules) for each in scores]
    return min(range(len(excess)), key=lambda place: (excess[place], place))


@dataclass(frozen=True)
class Rejected:
    """An image that was made and not kept: no file of it is stored."""

    sample_index: int
    reason: str
    scores: Scores
    render_s: float | None = None
    cost: float | None = None  # by the renderer's price


def rejected_text(rejected: Sequence[Rejected]) -> str | None:
    """JSON, as records hold it; a score that does not apply is null."""
    return json.dumps([{**asdict(each), "scores": _known(each.scores)} for each in rejected]) if rejected else None


def scores_text(scores: Scores | None) -> str | None:
    """JSON likewise."""
    return json.dumps(_known(scores)) if scores else None


def _known(scores: Scores) -> dict[str, float | None]:
    return {name: None if math.isnan(score) else score for name, score in scores.items()}


def read_rejected(text: str | None) -> list[Rejected]:
    """Of a record's text."""
    return [Rejected(**{**each, "scores": _read(each["scores"])}) for each in json.loads(text)] if text else []


def check_rejected(texts: Iterable[str]) -> None:
    """Raises ValueError for a text that `read_rejected` does not read."""
    for text in texts:
        try:
            found = read_rejected(text)
            sum(each.render_s or 0.0 for each in found)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"policy_rejected holds {text[:60]!r}, which is no list of rejected images") from error


def _read(scores: Mapping[str, float | None]) -> dict[str, float]:
    return {name: math.nan if score is None else score for name, score in scores.items()}
