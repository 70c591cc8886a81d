"""Which images of a shard are kept, under the run's policy: what is to be rendered next, and what each record ends as.

Images are made in rounds: first one for each draw (`domain/policy.py` says what that is), then one more for each draw
whose image is to be made again. It is looked at as it is encoded; what is not kept is let go, and never stored.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from darkroom.domain.policy import (
    DROP,
    KEEP,
    REGENERATE,
    Best,
    Policy,
    PolicyFigure,
    Rejected,
    Scores,
    nearest,
    verdict,
)
from darkroom.domain.records import Sample
from darkroom.engine.outcomes import Outcome, without_image
from darkroom.evaluation.reference_free import image_clip_scores
from darkroom.runs.features import ShardFeatures, joined_features

# Draws of several rows whose images are held in memory until they are chosen from, and batches, where these are more.
_MOST_DRAWS, _MOST_BATCHES = 256, 4
Resample = Callable[[Sample, int], Sample]  # an image's row and another sample index -> that image
# Images -> what became of each, and features by extractor_id of those that are there.
Make = Callable[[Sequence[Sample]], tuple[list[Outcome], dict[str, ShardFeatures]]]


@dataclass(frozen=True)
class Place:
    """One of a row's images, which becomes a record."""

    number: int  # from 0
    num_places: int  # of the row


Wanted = tuple[Sample, Place]  # any image of the row, and which of the row's places


@dataclass(frozen=True)
class Scored:
    """What became of an image, and its scores: as a text why it has none, where it was rendered."""

    outcome: Outcome
    scores: Scores | str = ""


class Draw:
    """The images that are made, one after another, until one is kept."""

    def __init__(self, policy: Policy, sample: Sample, number: int, num_draws: int, resample: Resample) -> None:
        self._policy, self._sample, self._number, self._num_draws = policy, sample, number, num_draws
        self._resample = resample
        self._rejected: list[Rejected] = []
        self._nearest: Scored | None = None  # of those that may yet be kept
        self.end: Outcome | None = None

    def next(self) -> Sample:
        return self._resample(self._sample, self._number + len(self._rejected) * self._num_draws)

    def add(self, made: Scored) -> None:
        """The image of `next`."""
        outcome, scores = made.outcome, made.scores
        if outcome.encoded is None:
            self.end = replace(outcome, rejected=tuple(self._rejected))
        elif isinstance(scores, str):
            self.end = replace(without_image(outcome, f"policy: {scores}"), rejected=tuple(self._rejected))
        else:
            self._judge(outcome, scores)

    def _judge(self, outcome: Outcome, scores: Scores) -> None:
        found = verdict(self._policy, scores)
        if found.then == KEEP:
            self._keep(replace(outcome, scores=scores, reason=found.reason))
            return
        self._rejected.append(rejected(outcome, scores, found.reason))
        if found.then == REGENERATE and found.otherwise == KEEP:
            self._hold(Scored(replace(outcome, scores=scores, reason=found.reason), scores))
        is_over = found.then == DROP or len(self._rejected) >= found.attempts
        if is_over and found.then == REGENERATE and found.otherwise == KEEP and self._nearest:
            self._keep(self._nearest.outcome)
        elif is_over:
            self._drop(outcome, found.reason)

    def _hold(self, made: Scored) -> None:
        held = self._nearest
        if held is None or _nearer(self._policy, held, made):
            self._nearest = made

    def _keep(self, outcome: Outcome) -> None:
        index = outcome.sample.sample_index
        others = tuple(each for each in self._rejected if each.sample_index != index)
        self.end, self._nearest = replace(outcome, rejected=others), None

    def _drop(self, outcome: Outcome, reason: str) -> None:
        """Its record is called by the draw's first image."""
        first = self._resample(self._sample, self._number)
        dropped = replace(without_image(outcome, reason), sample=first, is_dropped=True, scores=None)
        self.end, self._nearest = replace(dropped, render_s=None, cost=None, rejected=tuple(self._rejected)), None


def _nearer(policy: Policy, held: Scored, made: Scored) -> bool:
    assert not isinstance(held.scores, str)
    assert not isinstance(made.scores, str)
    return nearest(policy, [held.scores, made.scores]) == 1


def rejected(outcome: Outcome, scores: Scores, reason: str) -> Rejected:
    return Rejected(outcome.sample.sample_index, reason, scores, outcome.render_s, outcome.cost)


# Places --------------------------------------------------------------------------------------------------------------


@dataclass
class _Group:
    """Places that share draws."""

    num_places: int
    draws: Sequence[Draw]

    def ends(self, best: Best | None) -> list[Outcome]:
        """One a place, in order."""
        ends = [draw.end for draw in self.draws if draw.end]
        assert len(ends) == len(self.draws), "asked too early"
        return ends if best is None else _best_of(ends, self.num_places, best)


def _best_of(ends: Sequence[Outcome], num_places: int, best: Best) -> list[Outcome]:
    """The best first. Where too few are left of the draws, the reason of one that is not there takes the place of each
    that is missing. Where a draw failed, all places fail and a retry chooses anew among all: what is kept depends on
    no machine's failure."""
    there = sorted(
        (end for end in ends if end.encoded), key=lambda end: best.rank(end.scores or {}, end.sample.sample_index)
    )
    gone = [end for end in ends if not end.encoded]
    failed = [end for end in gone if not (end.is_filtered or end.is_dropped)]
    if failed:
        return [
            replace(
                without_image(end, failed[0].error or ""), is_filtered=False, is_dropped=False, scores=None, reason=""
            )
            for end in ends[:num_places]
        ]
    chosen, losers = there[:num_places], there[num_places:]
    missing, unused = gone[: num_places - len(chosen)], gone[num_places - len(chosen) :]
    kept = [*chosen, *missing]
    others = [rejected(end, end.scores or {}, best.reason) for end in losers]
    others += [rejected(end, {}, end.error or "") for end in unused if not end.is_dropped]
    others += [each for end in (*losers, *unused) for each in end.rejected]
    told = sorted([*kept[0].rejected, *others], key=lambda each: each.sample_index)
    return [replace(kept[0], rejected=tuple(told)), *kept[1:]]


@dataclass
class Choice:
    """Some rows' places on their way."""

    policy: Policy
    groups: Sequence[_Group]
    _waiting: list[Draw] = field(default_factory=list)

    def next(self) -> list[Sample]:
        """The images that are to be made now; none where all is decided."""
        self._waiting = [draw for group in self.groups for draw in group.draws if draw.end is None]
        return [draw.next() for draw in self._waiting]

    def add(self, made: Sequence[Scored]) -> None:
        """What became of them, in order."""
        for draw, each in zip(self._waiting, made, strict=True):
            draw.add(each)

    def ends(self) -> list[Outcome]:
        """What each place ends as, in the order of places."""
        return [end for group in self.groups for end in group.ends(self.policy.best)]


def choices(policy: Policy, places: Sequence[Wanted], resample: Resample, batch_size: int) -> Iterator[Choice]:
    """Whole rows together, so many that their images can be held; `places` in order of rows."""
    held: list[_Group] = []
    most = max(_MOST_DRAWS, _MOST_BATCHES * batch_size)
    for _, own in groupby(places, key=lambda item: item[0].row.row):
        row = _groups(policy, list(own), resample)
        if held and sum(len(group.draws) for group in (*held, *row)) > most:
            yield Choice(policy, held)
            held = []
        held = [*held, *row]
    if held:
        yield Choice(policy, held)


def _groups(policy: Policy, places: Sequence[Wanted], resample: Resample) -> list[_Group]:
    """Of one row's places."""
    (sample, first), best = places[0], policy.best
    num_draws = policy.num_draws(first.num_places)

    def group(num_places: int, numbers: Iterable[int]) -> _Group:
        return _Group(num_places, [Draw(policy, sample, each, num_draws, resample) for each in numbers])

    if best is None:
        return [group(1, [place.number]) for _, place in places]
    counts = Counter(place.number // best.keep for _, place in places)
    return [group(count, range(number * best.of, (number + 1) * best.of)) for number, count in counts.items()]


def chosen(
    policy: Policy, places: Sequence[Wanted], resample: Resample, make: Make, batch_size: int
) -> Iterator[tuple[list[Outcome], dict[str, ShardFeatures]]]:
    """Some rows after others: what each of their places ends as, and features of the images that are kept."""
    for choice in choices(policy, places, resample, batch_size):
        rounds: list[dict[str, ShardFeatures]] = []
        while wanted := choice.next():
            outcomes, features = make(wanted)
            there = digests(wanted, outcomes)
            choice.add(
                [
                    Scored(
                        outcome, scores_of(policy, features, name) if (name := sample.request.image_id) in there else ""
                    )
                    for sample, outcome in zip(wanted, outcomes, strict=True)
                ]
            )
            rounds.append(features)
        ends = choice.ends()
        ids = [end.sample.request.image_id for end in ends if end.encoded]
        names = dict.fromkeys(name for features in rounds for name in features)
        yield ends, {name: joined_features([each[name] for each in rounds if name in each]).of(ids) for name in names}


def digests(wanted: Sequence[Sample], outcomes: Sequence[Outcome]) -> dict[str, str]:
    """image_id -> digest of its file, of images that are encoded."""
    pairs = zip(wanted, outcomes, strict=True)
    return {
        sample.request.image_id: hashlib.sha256(outcome.encoded.data).hexdigest()
        for sample, outcome in pairs
        if outcome.encoded
    }


# Scores --------------------------------------------------------------------------------------------------------------


def scores_of(policy: Policy, features: Mapping[str, ShardFeatures], image_id: str) -> Scores | str:
    """An image's scores, out of features by extractor_id; as a text, why it has none."""
    found = {}
    for figure in policy.figures:
        own = features[figure.extractor_id].of([image_id])
        if own.errors[0]:
            return f"{figure.name}: {own.errors[0]}"
        found[figure.name] = _score(figure, own)
    return found


def _score(figure: PolicyFigure, features: ShardFeatures) -> float:
    """Of one image."""
    if figure.column is not None:
        return float(features.images.features[0, figure.column])
    return float(image_clip_scores(features.images.cosines, figure.convention)[0])
