"""Checks what is to be measured before anything is rendered or scored: extractors and a reference that are there."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from darkroom.api.events import Progress, Warned
from darkroom.api.options import EvaluationOptions
from darkroom.domain.errors import DarkroomError
from darkroom.features.extractor import ExtractorPin, ExtractorSpec
from darkroom.features.opening import inspect_extractor, pin_extractor
from darkroom.features.reference import Reference, ReferenceSpec, Statistics
from darkroom.features.reference_opening import open_reference
from darkroom.metrics.catalogue import CATALOGUE, convention, default_metrics, metrics_by_extractor
from darkroom.metrics.measuring import figure_name
from darkroom.runs.features import ExtractorInfo

_KEYS = tuple(each.name for each in fields(ExtractorSpec) if each.name not in ("device", "pin"))


@dataclass(frozen=True)
class CheckedEvaluation:
    """Checked options: extractors that are there, a reference that is there."""

    options: EvaluationOptions
    extractors: tuple[ExtractorInfo, ...]
    reference: Reference | None
    named: Mapping[str, Sequence[str]]  # extractor's name -> metrics; empty where the options name none
    pins: tuple[ExtractorPin, ...]  # of each extractor

    @property
    def figures(self) -> list[str]:
        """Names of those that there will be."""
        return [figure_name(info, metric) for info in self.extractors for metric in self.metrics(info)]

    def metrics(self, info: ExtractorInfo) -> Sequence[str]:
        """Of one extractor."""
        return self.named.get(info.name) or default_metrics(info, has_reference=self.reference is not None)

    @property
    def extractor_ids(self) -> list[str]:
        return [info.extractor_id for info in self.extractors]

    def specs(self, device: str) -> tuple[ExtractorSpec, ...]:
        specs = extractor_specs(self.options.extractors, device)
        return tuple(replace(spec, pin=pin) for spec, pin in zip(specs, self.pins, strict=True))


def check_evaluation(options: EvaluationOptions, progress: Progress) -> CheckedEvaluation:
    """Raises DarkroomError for what could not be measured, before hours of work."""
    convention("clip_score", options.clip_convention)
    specs = extractor_specs(options.extractors, "cpu")
    infos = tuple(map(inspect_extractor, specs))
    twice = [name for name, count in Counter(info.name for info in infos).items() if count > 1]
    if twice:
        raise DarkroomError(f"extractors: {twice[0]} is there twice, and figures are called by it; evaluate one by one")
    named = {} if options.metrics is None else metrics_by_extractor(list(options.metrics), infos)
    reference = _opened_reference(options, progress)
    found = CheckedEvaluation(options, infos, reference, named, tuple(map(pin_extractor, specs, infos)))
    _check_reference(found)
    for expected in options.expect:
        if expected.figure not in found.figures:
            known = ", ".join(found.figures)
            raise DarkroomError(f"expect: no figure {expected.figure!r} will be there; those are {known}")
    return found


def extractor_specs(given: Iterable[str | Mapping[str, Any]], device: str) -> tuple[ExtractorSpec, ...]:
    """Each a name, such as `demo_clip`, or its keys, such as `{"name": "inception_v3", "source": "weights.pth"}`."""
    specs = tuple(_extractor_spec(item, device) for item in given)
    if not specs:
        raise DarkroomError("extractors=[] names none; leave it out, or give some, such as [demo_clip]")
    return specs


def _extractor_spec(item: str | Mapping[str, Any], device: str) -> ExtractorSpec:
    if isinstance(item, str):
        return ExtractorSpec(item, device=device)
    if not isinstance(item, Mapping) or "name" not in item or set(item) - set(_KEYS):
        raise DarkroomError(f"extractors: {item} is none; give a name, or a name with {', '.join(_KEYS[1:])}")
    return ExtractorSpec(**{str(name): value for name, value in item.items()}, device=device)


def _check_reference(found: CheckedEvaluation) -> None:
    """Refuse metrics that are named and could not be computed."""
    for extractor, metrics in found.named.items():
        for metric in metrics:
            reference, definition = found.reference, CATALOGUE[metric]
            if reference is None and definition.needs_reference:
                raise DarkroomError(f"metrics: {extractor}.{metric} needs a reference; give one as reference=...")
            if reference and definition.needs_reference_features and isinstance(reference.source, Statistics):
                raise DarkroomError(
                    f"reference={reference.name} holds statistics alone, and {extractor}.{metric} needs its images; "
                    "give those, or leave the metric out"
                )


def _opened_reference(options: EvaluationOptions, progress: Progress) -> Reference | None:
    if options.reference is None:
        return None
    reference = open_reference(ReferenceSpec(options.reference, options.reference_endpoint_url))
    for sentence in reference.left_out:
        progress(Warned(f"reference {reference.name}: {sentence}"))
    return reference
