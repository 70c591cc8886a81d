"""From a job's configuration to the typed values that `darkroom.api` takes."""

from dataclasses import fields, replace
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from darkroom.api.arguments import Prompts, chosen, combinations, demo, files, policy_rules
from darkroom.api.checking import Request
from darkroom.api.evaluation_options import (
    ComparisonOptions,
    CopiesOptions,
    EvaluationOptions,
    Expectation,
    GridImageOptions,
    HalvingOptions,
    PolicyRule,
    RatingOptions,
)
from darkroom.api.export_options import ExportOptions
from darkroom.api.options import EngineOptions, ModelPlace, ReadingOptions, RowOptions
from darkroom.api.output_options import C2paOptions, OutputOptions
from darkroom.api.rewrite_options import REWRITES, RewriteOptions
from darkroom.api.run import Run, open_run
from darkroom.conf.groups import EvaluateMode, PromptsKind
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import checked_table
from darkroom.domain.settings import ModelRef
from darkroom.engine.planning import Grid
from darkroom.jobs.hooks import check_written


def request(config: DictConfig) -> Request:
    """Of `plan`, `generate` and `sweep`."""
    return Request(prompts(config.prompts), *_but_prompts(config))


def check(config: DictConfig) -> None:
    """Raises DarkroomError for values of any job that do not go together. No file is looked for."""
    if "prompts" in config:
        if "model" in config:
            _but_prompts(config)
        if config.prompts.kind is not PromptsKind.file:
            prompts(config.prompts)
    elif "engine" in config:
        engine(config.engine)
    if "rewrite" in config:
        rewriting(config.rewrite)
    if "expect" in config:
        evaluation(config)
    if "dedup" in config:
        exporting(config)
    if "on_end" in config:
        check_written(config.on_end)


def _but_prompts(config: DictConfig) -> tuple[Any, ...]:
    """What a request has besides, in order."""
    is_inline = config.evaluate is EvaluateMode.inline
    return (
        *model_and_sampling(config),
        OutputOptions(**_contents(config.output)),
        engine(config.engine),
        evaluation(config.evaluation) if is_inline else None,
        grid(config.grid) if "grid" in config else None,
        HalvingOptions(**_contents(config.halving)) if "halving" in config and config.halving.figure else None,
        policy(config.policy),
        _scoring(config.evaluation),
    )


def model_and_sampling(config: DictConfig) -> tuple[ModelRef, dict[str, Any]]:
    """Of `prove`, and of what renders."""
    return checked_table(ModelRef, _contents(config.model), "model"), _contents(config.sampling)


def engine(config: DictConfig) -> EngineOptions:
    return EngineOptions(**_contents(config))


def evaluation(config: DictConfig) -> EvaluationOptions:
    """Of an `evaluation` section, or of a job that has the keys of one."""
    values = {
        name: value for name, value in _contents(config).items() if name in EvaluationOptions.__dataclass_fields__
    }
    return EvaluationOptions(**{**values, "expect": tuple(Expectation(**each) for each in values["expect"])})


def policy(config: ListConfig) -> tuple[PolicyRule, ...]:
    entries: Any = OmegaConf.to_container(config, resolve=True)
    return policy_rules(entries)


def _scoring(config: DictConfig) -> EvaluationOptions:
    """What of an `evaluation` section a policy reads."""
    found = _contents(config)
    return EvaluationOptions(extractors=found["extractors"], clip_convention=found["clip_convention"])


def grid(config: DictConfig) -> Grid:
    values = _contents(config)
    return Grid(**{**values, "axes": {name: axis for name, axis in values["axes"].items() if axis is not None}})


def extractors(config: ListConfig | None) -> list[Any] | None:
    found: Any = None if config is None else OmegaConf.to_container(config, resolve=True)
    return found  # type: ignore[no-any-return]


def grid_image(config: DictConfig) -> GridImageOptions:
    return GridImageOptions(**_contents(config))


def comparison(config: DictConfig) -> ComparisonOptions:
    values = _contents(config)
    return ComparisonOptions(**{name: values[name] for name in ComparisonOptions.__dataclass_fields__})


def rating(config: DictConfig) -> RatingOptions:
    values = _contents(config)
    return RatingOptions(**{name: values[name] for name in RatingOptions.__dataclass_fields__})


def copies(config: DictConfig) -> CopiesOptions:
    values = _contents(config)
    return CopiesOptions(**{name: values[name] for name in CopiesOptions.__dataclass_fields__})


def exporting(config: DictConfig) -> ExportOptions:
    values = _contents(config)
    return ExportOptions(**{name: values[name] for name in ExportOptions.__dataclass_fields__})


def c2pa(config: DictConfig) -> C2paOptions:
    return C2paOptions(**_contents(config))


def rewriting(config: DictConfig) -> RewriteOptions:
    """Of a `rewrite` section."""
    contents = _contents(config)
    options: RewriteOptions = REWRITES[contents.pop("kind")](**contents)
    return options


def model_place(config: DictConfig) -> ModelPlace:
    """What a job on a run says of its model."""
    return ModelPlace(**_contents(config))


def run_of(config: DictConfig) -> Run:
    """The run that `run=` names. Raises DarkroomError where there is none."""
    return open_run(config.run, config.endpoint_url)


def prompts(config: DictConfig) -> Prompts:
    contents = _contents(config)
    rows = RowOptions(**{each.name: contents[each.name] for each in fields(RowOptions)})
    return replace(chosen(_PROMPTS[config.kind](contents), rows), grow=contents["grow"])


def _files(given: dict[str, Any]) -> Prompts:
    names = ("uri", "on_invalid", "columns", "endpoint_url", "preset", "allow_remote")
    reading = ReadingOptions(**{each.name: given[each.name] for each in fields(ReadingOptions)})
    return files(**{name: given[name] for name in names}, reading=reading)


def _template(given: dict[str, Any]) -> Prompts:
    if not isinstance(given["slots"], dict):
        raise DarkroomError(
            "prompts.slots needs a value for each slot of the pattern: prompts.slots={colour: [red, blue]}"
        )
    names = ("pattern", "slots", "mode", "num_prompts", "seed")
    indexed = {"indexed": True} if given["indexed"] else {}
    return combinations(**{name: given[name] for name in names}, **indexed)


_PROMPTS = {PromptsKind.demo: lambda _given: demo(), PromptsKind.file: _files, PromptsKind.template: _template}


def _contents(config: DictConfig) -> dict[str, Any]:
    """Its keys with their values, choices as their names."""
    contents: dict[str, Any] = OmegaConf.to_container(config, resolve=True, enum_to_str=True)  # type: ignore[assignment]
    return contents
