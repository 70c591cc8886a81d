"""A policy's decisions, on scores alone."""

import math

import pytest

from darkroom.domain.identity import Cell
from darkroom.domain.policy import (
    DROP,
    KEEP,
    REGENERATE,
    Best,
    Policy,
    Rejected,
    Rule,
    nearest,
    read_rejected,
    rejected_text,
    verdict,
)
from darkroom.domain.records import PromptRow, resampled, samples
from darkroom.domain.settings import Sampling
from darkroom.rendering.renderer import paint_model

UNSAFE = Rule("nsfw.score", DROP, above=0.8)
DOUBTFUL = Rule("nsfw.score", REGENERATE, above=0.5, attempts=4)
BLAND = Rule("clip.clip_score", REGENERATE, below=0.6, attempts=2, otherwise=KEEP)
NOTED = Rule("clip.clip_score", KEEP, below=0.7)


def policy(*rules: Rule, best: Best | None = None) -> Policy:
    return Policy(rules, best, (), ())


@pytest.mark.parametrize(
    ("nsfw", "clip", "then", "reason"),
    [
        (0.9, 0.5, DROP, "nsfw.score above 0.8"),
        (0.6, 0.5, REGENERATE, "nsfw.score above 0.5, clip.clip_score below 0.6"),
        (0.5, 0.6, KEEP, "clip.clip_score below 0.7"),
        (0.1, 0.9, KEEP, ""),
        (math.nan, math.nan, KEEP, ""),
    ],
)
def test_drop_wins_over_regenerate_and_that_over_keep(nsfw: float, clip: float, then: str, reason: str) -> None:
    found = verdict(policy(NOTED, BLAND, DOUBTFUL, UNSAFE), {"nsfw.score": nsfw, "clip.clip_score": clip})
    assert found.then == then
    assert sorted(found.reason.split(", ")) == sorted(reason.split(", "))


def test_of_several_rules_the_strictest_says_how_often_and_what_then() -> None:
    found = verdict(policy(DOUBTFUL, BLAND), {"nsfw.score": 0.6, "clip.clip_score": 0.1})
    assert (found.attempts, found.otherwise) == (2, DROP)
    assert verdict(policy(BLAND), {"clip.clip_score": 0.1}).otherwise == KEEP


def test_the_nearest_is_so_by_the_first_rule_and_then_by_the_next() -> None:
    scores = [{"nsfw.score": a, "clip.clip_score": b} for a, b in ((0.9, 0.9), (0.6, 0.2), (0.6, 0.5), (0.6, 0.5))]
    assert nearest(policy(DOUBTFUL, BLAND), scores) == 2


def test_the_best_come_first_equal_ones_by_their_sample_and_those_without_a_score_last() -> None:
    scores = [0.2, 0.9, math.nan, 0.9, 0.1]

    def order(higher_is_better: bool) -> list[int]:
        best = Best(1, 4, "a.b", higher_is_better)
        return sorted(range(5), key=lambda index: best.rank({"a.b": scores[index]}, index))

    assert order(True) == [1, 3, 0, 4, 2]
    assert order(False) == [4, 0, 1, 3, 2]


def test_how_many_images_a_policy_makes() -> None:
    assert policy().num_draws(3) == 3
    assert policy(best=Best(2, 5, "a.b", True)).num_draws(4) == 10
    assert policy(best=Best(2, 5, "a.b", True)).num_draws(3) == 10
    assert (policy(UNSAFE).max_attempts, policy(DOUBTFUL, BLAND).max_attempts) == (1, 4)


def test_rejected_images_come_back_from_a_record() -> None:
    told = [Rejected(3, "a above 0.5", {"a": 0.75, "b": math.nan}, 0.25, None)]
    [found] = read_rejected(rejected_text(told))
    assert math.isnan(found.scores["b"])
    assert (found.sample_index, found.reason, found.scores["a"], found.render_s) == (3, "a above 0.5", 0.75, 0.25)
    assert read_rejected(None) == []
    assert rejected_text([]) is None


@pytest.mark.parametrize("overrides", [(), (("seed", 11),)])
@pytest.mark.parametrize("of_cell", [None, 5])
def test_another_sample_of_a_row_has_the_seed_that_a_larger_run_gives_it(overrides: tuple, of_cell: int | None) -> None:
    cell = Cell(paint_model().identity, Sampling("default", 5.0, 20, 16, 16, seed=of_cell))
    row = PromptRow(0, "p", "a cat", overrides)
    first, *others = samples(row, cell, 7, 4)
    assert [resampled(first, index, cell, 7) for index in (1, 2, 3)] == others
    assert resampled(others[2], 0, cell, 7) == first
