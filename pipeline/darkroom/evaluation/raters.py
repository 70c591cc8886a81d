"""What votes on blind pairs say of each two cells, of raters, and of metrics: who agrees with whom, how often."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from darkroom.domain.identity import Shard
from darkroom.domain.records import OK
from darkroom.evaluation.figures import Metric
from darkroom.evaluation.paired_comparisons import Agreement, agreement, share
from darkroom.evaluation.ratings import Judgement, image_ids, numbered
from darkroom.evaluation.resampling import Interval
from darkroom.runs.bulk import read_each
from darkroom.runs.features import ShardFeatures, get_features
from darkroom.runs.listing import committed_shards
from darkroom.runs.ratings import LEFT, RIGHT, SCORES, Study, Vote
from darkroom.storage.store import Store


@dataclass(frozen=True)
class TwoCells:
    """How often one cell won against another."""

    cell_id: str
    other: str
    num_votes: int
    num_ties: int
    rate: Interval  # of the first


@dataclass(frozen=True)
class RaterInfo:
    """One rater's votes, and what tells a careful rater from others."""

    name: str
    num_votes: int  # without skips
    num_skipped: int
    num_ties: int
    left: Interval | None  # share of left in the choices of a side: a half, since sides are drawn
    steady: Interval | None  # share of the pairs that came again with the same choice
    num_repeats: int
    seconds: float | None  # median of a vote


@dataclass(frozen=True)
class MetricAgreement:
    """How often the image that raters chose is the one that a metric scores higher; equal scores as half."""

    metric: str
    num_votes: int
    rate: Interval


def two_cells(found: Sequence[Judgement], cell_ids: Sequence[str]) -> list[TwoCells]:
    """Of each two cells with a vote."""
    told = []
    for one, other in combinations(cell_ids, 2):
        between = [each for each in found if set(each.cell_ids) == {one, other}]
        if between:
            won = [each.score if each.cell_ids[0] == one else 1 - each.score for each in between]
            told.append(TwoCells(one, other, len(won), won.count(0.5), _share(won, between)))
    return told


def rater_infos(votes: Sequence[tuple[Study, Vote]]) -> list[RaterInfo]:
    """By name."""
    names = sorted({vote.rater for _, vote in votes})
    return [_rater_info(name, [each for each in votes if each[1].rater == name]) for name in names]


def raters_agreement(found: Iterable[Judgement]) -> Agreement | None:
    """None where no pair has several raters' votes."""
    by_pair: dict[tuple[str, str], dict[str, int]] = {}  # -> rater -> 0 for the first image, 1 for neither, 2
    prompts: dict[tuple[str, str], str] = {}
    for each in found:
        ids = image_ids(each)
        of_first = each.score if ids[0] == each.pair.left.image_id else 1 - each.score
        by_pair.setdefault(ids, {})[each.rater] = round(2 - 2 * of_first)
        prompts[ids] = each.pair.prompt
    counts = np.array([np.bincount(list(chosen.values()), minlength=3) for chosen in by_pair.values()]).reshape(-1, 3)
    return agreement(counts, numbered(prompts[ids] for ids in by_pair).tolist())


def metric_agreement(metric: str, found: Sequence[Judgement], values: Mapping[str, float]) -> MetricAgreement | None:
    """`values`: of single images, by image_id. None where no chosen image can be told by them."""
    known = [each for each in found if each.score != 0.5 and all(name in values for name in image_ids(each))]
    if not known:
        return None
    sides = [(values[each.pair.left.image_id], values[each.pair.right.image_id], each.score) for each in known]
    hits = [0.5 if left == right else float((left > right) == (score > 0.5)) for left, right, score in sides]
    return MetricAgreement(metric, len(known), _share(hits, known))


def _share(values: Sequence[float], of: Sequence[Judgement]) -> Interval:
    return share(np.array(values), numbered(each.pair.prompt for each in of))


def _rater_info(name: str, own: Sequence[tuple[Study, Vote]]) -> RaterInfo:
    chosen = [(study, vote) for study, vote in own if vote.choice in SCORES]
    sides = [(study.pairs[vote.pair].prompt, vote) for study, vote in chosen if vote.choice in (LEFT, RIGHT)]
    again = _again(chosen)
    seconds = [vote.seconds for _, vote in chosen if vote.seconds is not None]
    left = [float(vote.choice == LEFT) for _, vote in sides]
    return RaterInfo(
        name,
        len(chosen),
        len(own) - len(chosen),
        len(chosen) - len(sides),
        share(np.array(left), numbered(prompt for prompt, _ in sides)) if sides else None,
        share(np.array([same for _, same in again]), numbered(prompt for prompt, _ in again)) if again else None,
        len(again),
        median(seconds) if seconds else None,
    )


def _again(chosen: Sequence[tuple[Study, Vote]]) -> list[tuple[str, float]]:
    """(prompt, 1 where the choice was the same both times) of pairs that came again, and were not skipped."""
    scores = {(study.study_id, vote.pair): SCORES[vote.choice] for study, vote in chosen}
    found = []
    for study, vote in chosen:
        pair = study.pairs[vote.pair]
        before = None if pair.repeats is None else scores.get((study.study_id, pair.repeats))
        if before is not None:
            found.append((pair.prompt, float(before == 1 - SCORES[vote.choice])))
    return found


# Images that were shown ----------------------------------------------------------------------------------------------

_CLIP_SCORE = ".clip_score"


def present_files(store: Store, cell_ids: Iterable[str], image_ids: Collection[str]) -> dict[str, str]:
    """image_id -> the digest of its file now, of those of these images that are there."""
    return {image_id: sha256 for _, own in _shown(store, cell_ids, image_ids) for image_id, sha256 in own.items()}


def image_scores(
    store: Store, cell_ids: Iterable[str], image_ids: Collection[str], metrics: Iterable[Metric]
) -> dict[str, dict[str, float]]:
    """Metric.name -> image_id -> score, higher is better, by the features that are stored of the files that are there.

    Of metrics that are means over images: CLIP scores and those of scorers.
    """
    scored = [metric for metric in metrics if metric.column is not None or metric.name.endswith(_CLIP_SCORE)]
    found: dict[str, dict[str, float]] = {metric.name: {} for metric in scored}
    for shard, own in _shown(store, cell_ids, image_ids) if scored else ():
        for metric in scored:
            features = get_features(store, metric.extractor_id, shard)
            found[metric.name] |= dict(_scores(metric, features, own)) if features else {}
    return found


def _shown(store: Store, cell_ids: Iterable[str], image_ids: Collection[str]) -> Iterator[tuple[Shard, dict[str, str]]]:
    """Shards that hold some of these images, with image_id -> sha256."""
    for cell_id in cell_ids:
        for shard, table in read_each(store, committed_shards(store, cell_id), ["image_id", "status", "sha256"]):
            rows = (row for row in table.to_pylist() if row["status"] == OK and row["image_id"] in image_ids)
            if own := {row["image_id"]: row["sha256"] for row in rows}:
                yield shard, own


def _scores(metric: Metric, features: ShardFeatures, own: Mapping[str, str]) -> Iterator[tuple[str, float]]:
    """Of a CLIP score the cosine, which ranks images alike in every convention."""
    images = features.images
    values = images.cosines if metric.column is None else images.features[:, metric.column]
    for image_id, sha256 in own.items():
        place = features.place(image_id, sha256)
        if place is not None and np.isfinite(values[place]):
            yield image_id, float(values[place]) if metric.higher_is_better else -float(values[place])
