"""A run's policy: entries as a person gives them, checked against the scores of single images that there will be.

And, for a run that is there, its policy's extractors: what a stored run names is loaded, and never run as code of its
own or as a command, unless the caller names it again.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from darkroom.api.checking import Checked, Request
from darkroom.api.evaluation import (
    CheckedEvaluation,
    check_columns,
    check_evaluation,
    check_frames,
    extractor_specs,
    stored_options,
)
from darkroom.api.evaluation_options import EvaluationOptions, PolicyRule
from darkroom.api.events import Progress, Warned
from darkroom.domain.errors import DarkroomError
from darkroom.domain.policy import DROP, REGENERATE, USUAL_ATTEMPTS, Best, Policy, PolicyFigure, Rule
from darkroom.domain.setting_values import unknown
from darkroom.evaluation.catalogue import definition, metrics_for
from darkroom.evaluation.extractor import ExtractorSpec
from darkroom.evaluation.measuring import figure_name
from darkroom.evaluation.opening import EXTRACTORS, inspect_extractor, pin_extractor
from darkroom.evaluation.reference_free import image_score_range
from darkroom.runs.commands import word
from darkroom.runs.features import ExtractorInfo
from darkroom.runs.run import RunInfo


@dataclass(frozen=True)
class CheckedPolicy:
    """A policy, and the extractors that give its scores."""

    policy: Policy
    scoring: CheckedEvaluation  # of more extractors, it may be

    def specs(self, device: str) -> tuple[ExtractorSpec, ...]:
        """Of those that the policy asks."""
        pairs = zip(self.scoring.specs(device), self.scoring.extractors, strict=True)
        return tuple(spec for spec, info in pairs if info.extractor_id in self.policy.extractor_ids)


def check_policy(found: Checked, evaluation: CheckedEvaluation | None, progress: Progress) -> CheckedPolicy | None:
    """None where there is none. Raises DarkroomError for what could not be decided, before anything is rendered."""
    request = found.request
    if not request.policy:
        return None
    scoring = evaluation or check_evaluation(request.scored_by, progress)
    checked = CheckedPolicy(_policy(request.policy, scoring), scoring)
    if checked.policy.best:
        _check_numbers(request, found, checked.policy.best)
    for text in _idle_rules(checked.policy):
        progress(Warned(text))
    asked = [info for info in scoring.extractors if info.extractor_id in checked.policy.extractor_ids]
    used = replace(scoring, extractors=tuple(asked))
    check_columns(used, found.scan.extras_schema.names)
    check_frames(used, found.are_videos)
    return checked


def with_policy(found: Checked, checked: CheckedPolicy | None) -> Checked:
    return replace(found, policy=checked.policy if checked else None)


def _policy(entries: Sequence[PolicyRule], scoring: CheckedEvaluation) -> Policy:
    known = _figures(scoring)
    rules = tuple(_rule(entry, known) for entry in entries if entry.figure is not None)
    best = [_best(entry, known, scoring) for entry in entries if entry.by is not None]
    if len(best) > 1:
        raise DarkroomError("policy: two entries keep the best of several; give one")
    named = dict.fromkeys([*(rule.figure for rule in rules), *(each.by for each in best)])
    figures = tuple(known[name] for name in named)
    asked = {figure.extractor_id for figure in figures}
    said = stored_options(EvaluationOptions(extractors=scoring.options.extractors))["extractors"]
    assert isinstance(said, list)
    pairs = zip(said, scoring.extractors, strict=True)
    extractors = tuple(_json(each) for each, info in pairs if info.extractor_id in asked)
    return Policy(rules, best[0] if best else None, figures, extractors)


def _figures(scoring: CheckedEvaluation) -> dict[str, PolicyFigure]:
    """By name, all scores of single images that the extractors give."""
    found = {}
    for info in scoring.extractors:
        for metric in metrics_for(info):
            if (defined := definition(metric, info)).of_images:
                scale = scoring.options.clip_convention if defined.needs_captions else ""
                name = figure_name(info, metric)
                found[name] = PolicyFigure(name, info.extractor_id, defined.column, scale)
    return found


def _named(asked: str, known: dict[str, PolicyFigure]) -> str:
    """The figure's whole name; a name without its extractor stands for the one that there is."""
    fitting = [name for name in known if asked in (name, name.partition(".")[2])]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise DarkroomError(f"policy: {asked} is of several extractors; give one of {', '.join(fitting)}")
    there = tuple(known)
    if not there:
        raise DarkroomError(f"policy: none of the extractors has a score of single images, as {asked} must be")
    raise DarkroomError(
        f"policy: {unknown(asked, there, 'score of single images')}; evaluation.extractors names others"
    )


def _rule(entry: PolicyRule, known: dict[str, PolicyFigure]) -> Rule:
    name, then = _named(str(entry.figure), known), str(entry.then)
    if then != REGENERATE:
        return Rule(name, then, entry.above, entry.below)
    return Rule(name, then, entry.above, entry.below, entry.attempts or USUAL_ATTEMPTS, entry.otherwise or DROP)


def _best(entry: PolicyRule, known: dict[str, PolicyFigure], scoring: CheckedEvaluation) -> Best:
    name = _named(str(entry.by), known)
    info, metric = next(
        (info, metric)
        for info in scoring.extractors
        for metric in metrics_for(info)
        if figure_name(info, metric) == name
    )
    return Best(entry.keep or 1, int(entry.of or 0), name, definition(metric, info).higher_is_better)


def _idle_rules(policy: Policy) -> Iterator[str]:
    """Rules that choose nothing, by figures whose range is known: of scorers' own it is not."""
    clip = {figure.name: image_score_range(figure.convention) for figure in policy.figures if figure.column is None}
    for rule in policy.rules:
        if rule.figure not in clip:
            continue
        low, high = clip[rule.figure]
        above, below = rule.above, rule.below
        holds_always = (above is not None and above < low) or (below is not None and below > high)
        holds_never = (above is not None and above >= high) or (below is not None and below <= low)
        if holds_always or holds_never:
            what = "it holds for every image" if holds_always else "it holds for none"
            yield f"policy: {rule}: {rule.figure} lies between {low:g} and {high:g}, so that {what}"


def _check_numbers(request: Request, found: Checked, best: Best) -> None:
    """Refuse cells whose number of images no whole choices make up."""
    counts = {item.cell.sampling.num_images_per_prompt or request.num_images_per_prompt for item in found.cells}
    for count in sorted(counts):
        if count % best.keep:
            raise DarkroomError(
                f"policy: keep={best.keep} of {best.of}, and sampling.num_images_per_prompt={count}, which is what a "
                f"prompt ends up with; give a multiple of {best.keep}"
            )


def _json(extractor: Any) -> str:
    return json.dumps(extractor, sort_keys=True, ensure_ascii=False)


# Of a run that is there ----------------------------------------------------------------------------------------------


def run_specs(info: RunInfo, named: Sequence[Any] | None, device: str) -> tuple[ExtractorSpec, ...]:
    """The extractors of a run's policy, as they were when it began.

    `named`: as the caller names them. Raises DarkroomError for one that is another now, and where one runs code or a
    command and is not named.
    """
    if info.policy is None:
        if named is not None:
            raise DarkroomError("extractors: this run has no policy that asks for scores; leave them out")
        return ()
    specs = extractor_specs(info.policy.named_extractors if named is None else named, device)
    for spec in specs if named is None else ():
        if spec.command is not None or spec.name not in EXTRACTORS:
            raise DarkroomError(
                f"extractors: the run's policy asks {spec.name}, a command or code of one's own, which no stored run "
                f"may start; name it again as {word('extractors', info.policy.named_extractors)}"
            )
    infos = [inspect_extractor(spec) for spec in specs]
    _check_same(info.policy, infos)
    return tuple(replace(spec, pin=pin_extractor(spec, each)) for spec, each in zip(specs, infos, strict=True))


def _check_same(policy: Policy, infos: Sequence[ExtractorInfo]) -> None:
    there = {info.extractor_id for info in infos}
    for figure in policy.figures:
        if figure.extractor_id not in there:
            now = ", ".join(f"{info.called} {info.extractor_id}" for info in infos)
            raise DarkroomError(
                f"extractors: {figure.name} of the run's policy is of {figure.extractor_id}, and here are {now}; give "
                "the extractor with the code, weights and version of then"
            )
