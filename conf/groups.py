"""The groups of keys that jobs share: prompts, model, sampling, output, engine, evaluation and grid.

Each key is declared once, with its default, its range and a sentence of help: those of `sampling`, of `model` and of a
grid's axes in `domain/settings.py`, those of output, engine, evaluation and halving in `api/options.py`.
"""

from dataclasses import dataclass, fields, make_dataclass
from enum import Enum
from typing import Any, get_type_hints

from darkroom.api.evaluation_options import EvaluationOptions, Expectation, GridImageOptions, HalvingOptions, PolicyRule
from darkroom.api.options import (
    DEVICES,
    ENDPOINT_HELP,
    GROW_HELP,
    MANY,
    SEEDS,
    EngineOptions,
    ModelPlace,
    ReadingOptions,
    RowOptions,
)
from darkroom.api.output_options import C2paOptions, OutputOptions
from darkroom.api.rewrite_options import REWRITES
from darkroom.conf.keys import IS_PROMPT, key, schema_of, schema_of_options, word_of
from darkroom.domain.records import ROW_COLUMNS
from darkroom.domain.settings import SETTINGS, ModelRef, Sampling, Setting
from darkroom.prompts.presets import PRESETS
from darkroom.prompts.reading import SLOT_NUMBERS as SLOT_NUMBERS
from darkroom.rendering import openai_images

COUNTS: dict[str, Any] = {"low": 1, "high": MANY}


class PromptsKind(Enum):
    demo = "demo"
    file = "file"
    template = "template"


class OnInvalid(Enum):
    fail = "fail"
    record = "record"


class TemplateMode(Enum):
    product = "product"
    random = "random"


class GridMode(Enum):
    product = "product"
    zip = "zip"


class LogMode(Enum):
    auto = "auto"
    json = "json"


class EvaluateMode(Enum):
    none = "none"
    inline = "inline"  # while the pixels are in memory


@dataclass
class DemoPrompts:
    kind: PromptsKind = key(PromptsKind.demo, help="The embedded world's own captions.")


# What is read -> the column that it is read from.
PromptColumns = make_dataclass(
    "PromptColumns",
    [
        (
            name,
            str | None,
            key(name, help=f"The column that {name} is read from; null: none, and one so called is carried."),
        )
        for name in ("prompt", *ROW_COLUMNS)
    ],
)


PromptsPreset = word_of("preset", tuple(PRESETS))


@dataclass
class FilePrompts:
    kind: PromptsKind = key(PromptsKind.file, help="Prompts from files.")
    uri: Any = key(
        is_place=True,
        is_several=True,
        help="A file, folder, glob or s3:// address of Parquet, CSV, TSV, JSON lines or one prompt a line; - is "
        "standard input; https:// and hf://datasets/ by allow_remote. Or several, such as [a.csv,b.txt].",
    )
    on_invalid: OnInvalid = key(
        OnInvalid.fail,
        help="What bad rows do: fail stops before anything is rendered, record makes them failed records.",
    )
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)
    columns: PromptColumns = key(PromptColumns, help="Which column is read as what.")  # type: ignore[valid-type]
    preset: PromptsPreset | None = key(  # type: ignore[valid-type]
        None, help="The benchmark, or the kind of table, that the file is: its own columns are read."
    )
    allow_remote: bool = key(False, help="Whether a uri of https:// or hf://datasets/ may be fetched.")


@dataclass
class TemplatePrompts:
    kind: PromptsKind = key(PromptsKind.template, help="Prompts from a pattern.")
    pattern: str = key(is_prompt=True, help="The prompt, with slots in braces, such as a {colour} {animal}.")
    slots: Any = key(
        None,
        is_text=True,
        help="The values of each slot, such as {colour: [red, blue], animal: [cat, dog]}; also {from: 1, to: 10}, "
        "{file: pets.txt}, and {value: ..., weight: ..., when: {slot: value}} in lists.",
    )
    mode: TemplateMode = key(TemplateMode.product, help="Every combination of values, or a random draw of num_prompts.")
    num_prompts: int | None = key(None, **COUNTS, help="Prompts that are drawn at random.")
    seed: int = key(0, **SEEDS, help="What that draw is made from.")
    indexed: bool = key(
        False, help="Name rows by their numbers, and read none to check them: for a template of a billion prompts."
    )
    write_to: str | None = key(None, is_place=True, help="The Parquet file that `plan` writes the prompts to.")


ModelConfig = schema_of(ModelRef, "ModelConfig")
SamplingConfig = schema_of(Sampling, "SamplingConfig")


# Choices of `model` whose options are keys of their own.
MODEL_OPTIONS = {"openai_images": schema_of(openai_images.Options, "OpenAIImagesOptions")}
PLUG_IN_MODELS = {
    name: make_dataclass(
        f"{options.__name__}Config",
        [("options", options, key(options, help="What the server is asked for, and how."))],
        bases=(ModelConfig,),
    )
    for name, options in MODEL_OPTIONS.items()
}


Device = word_of("device", DEVICES)
OutputConfig = schema_of_options(OutputOptions, "OutputConfig")
C2paConfig = schema_of_options(C2paOptions, "C2paOptions")
EngineConfig = schema_of_options(EngineOptions, "EngineConfig", kind="ray")
EvaluateEngineConfig = schema_of_options(EngineOptions, "EvaluateEngineConfig", job="evaluate", kind="ray")
RetryEngineConfig = schema_of_options(EngineOptions, "RetryEngineConfig", job="retry", kind="ray")
ExportEngineConfig = schema_of_options(EngineOptions, "ExportEngineConfig", job="export")
ProveEngineConfig = schema_of_options(EngineOptions, "ProveEngineConfig", job="prove")
EvaluationConfig = schema_of_options(EvaluationOptions, "EvaluationConfig")
ExpectationConfig = schema_of_options(Expectation, "Expectation")
PolicyRuleConfig = schema_of_options(PolicyRule, "PolicyRule")
ModelPlaceConfig = schema_of_options(ModelPlace, "ModelPlaceConfig")
GridImageConfig = schema_of_options(GridImageOptions, "GridImageConfig")
HalvingConfig = schema_of_options(HalvingOptions, "HalvingConfig", figure=None)  # where it is given


RewriteKind = word_of("rewriteKind", tuple(REWRITES))


def _rewrite_schema(name: str) -> Any:
    kind = key(RewriteKind[name], help="What rewrites prompts.")
    options = schema_of_options(REWRITES[name], f"{name.capitalize()}Rewrite")
    return make_dataclass(f"{name.capitalize()}RewriteConfig", [("kind", RewriteKind, kind)], bases=(options,))


REWRITE = {name: _rewrite_schema(name) for name in REWRITES}


def _axis_help(setting: Setting) -> str:
    ranges = "; also ranges, such as 1-4, 1-10 (+2) or 1-10 [4]" if setting.is_number else ""
    return f"Values of {setting.name}, in cells of their own{ranges}."


# The settings that cells may differ in; each with its values, or none.
GridAxes = make_dataclass(
    "GridAxes",
    [
        (
            each.name,
            list[Any] | None,
            key(None, is_text=each.is_text, has_ranges=each.is_number, help=_axis_help(each)),
        )
        for each in SETTINGS.values()
        if each.axis
    ],
)


@dataclass
class GridConfig:
    """Which cells a sweep has."""

    axes: GridAxes = key(GridAxes, help="Settings, each with the values that cells have.")  # type: ignore[valid-type]
    mode: GridMode = key(
        GridMode.product, help="Every combination of the axes' values, or the first, the second, ... of each."
    )
    cells: list[dict[str, Any]] = key(list, help="More cells, each as its settings.")
    exclude: list[dict[str, Any]] = key(list, help="A cell that matches all settings of one of these is left out.")
    num_cells: int | None = key(None, **COUNTS, help="A random subset of so many cells; null: all.")
    seed: int = key(0, **SEEDS, help="What that subset is drawn from.")


PROMPT_TEXTS = frozenset(
    each.name for kind in (TemplatePrompts, SamplingConfig) for each in fields(kind) if IS_PROMPT in each.metadata
)

TEXT_SETTINGS = frozenset(name for name, each in SETTINGS.items() if each.is_text)


def _with_rows(prompts: type, *options: Any) -> Any:
    """With the keys that choose rows, those of other `options`, and those of the run that has the rows."""
    rows = schema_of_options(RowOptions, "RowOptions")
    for each in options:
        prompts = make_dataclass(prompts.__name__, [], bases=(each, prompts))
    hints = get_type_hints(rows)
    keys = [(each.name, hints[each.name], each) for each in fields(rows)]
    return make_dataclass(prompts.__name__, [*keys, ("grow", bool, key(False, help=GROW_HELP))], bases=(prompts,))


PROMPTS = {
    "demo": _with_rows(DemoPrompts),
    "file": _with_rows(FilePrompts, schema_of_options(ReadingOptions, "ReadingOptions")),
    "template": _with_rows(TemplatePrompts),
}
GROUPS = {
    "model": ModelConfig,
    "sampling": SamplingConfig,
    "output": OutputConfig,
    "engine": EngineConfig,
    "grid": GridConfig,
}
