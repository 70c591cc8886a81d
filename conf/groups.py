"""The groups of keys that jobs share: prompts, model, sampling, output, engine, evaluation and grid.

Each key is declared once, with its default, its range and a sentence of help; those of `sampling`, of `model` and of a
grid's axes are the table in `domain/settings.py`.
"""

from dataclasses import dataclass, fields, make_dataclass
from enum import Enum
from typing import Any

from darkroom.conf.keys import IS_PROMPT, key, schema_of
from darkroom.domain.requests import ROW_COLUMNS
from darkroom.domain.settings import NUM_SEEDS, SETTINGS, ModelRef, Sampling

AUTO = "auto"  # a batch size
_MANY = 1_000_000_000
SEEDS: dict[str, Any] = {"low": 0, "high": NUM_SEEDS - 1}
COUNTS: dict[str, Any] = {"low": 1, "high": _MANY}
ENDPOINT_HELP = "Address of an S3 that is not Amazon's, such as http://127.0.0.1:9000; null: Amazon's."
_EXTRACTORS = (
    "What turns images into features: names such as demo_clip, clip, dinov2 and inception_v3, module:function of one's "
    "own, or {name: ..., source: ...}."
)
_METRICS = (
    "Names such as clip.kid, or kid of all extractors that have it; null: those that the extractors are made for."
)
REFERENCE_HELP = (
    "What images are compared with: demo, a folder or address of images, tars or Parquet, a run, an .npz file; "
    "null: nothing."
)
CONVENTION_HELP = (
    "The scale of CLIP scores: hessel (2.5 times the cosine, cut at 0), torchmetrics or mlperf (100 times)."
)
STATISTICS_SEED_HELP = "What subsets and resamples are drawn from."
DEVICE_HELP = "Where models compute; auto: the fastest that this machine has."


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


class LayoutKind(Enum):
    files = "files"
    webdataset = "webdataset"
    parquet = "parquet"


class ImageFormat(Enum):
    png = "png"
    webp = "webp"
    jpeg = "jpeg"


class EvaluateMode(Enum):
    none = "none"
    inline = "inline"  # while the pixels are in memory


class EngineKind(Enum):
    ray = "ray"
    local = "local"


class Device(Enum):
    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"
    mps = "mps"


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


@dataclass
class FilePrompts:
    kind: PromptsKind = key(PromptsKind.file, help="Prompts from files.")
    uri: str = key(
        is_place=True,
        help="A file, folder, glob or s3:// address of Parquet, CSV, TSV, JSON lines or one prompt a line.",
    )
    on_invalid: OnInvalid = key(
        OnInvalid.fail,
        help="What bad rows do: fail stops before anything is rendered, record makes them failed records.",
    )
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)
    columns: PromptColumns = key(PromptColumns, help="Which column is read as what.")  # type: ignore[valid-type]


@dataclass
class TemplatePrompts:
    kind: PromptsKind = key(PromptsKind.template, help="Prompts from a pattern.")
    pattern: str = key(is_prompt=True, help="The prompt, with slots in braces, such as a {colour} {animal}.")
    slots: Any = key(None, help="The values of each slot, such as {colour: [red, blue], animal: [cat, dog]}.")
    mode: TemplateMode = key(TemplateMode.product, help="Every combination of values, or a random draw of num_prompts.")
    num_prompts: int | None = key(None, **COUNTS, help="Prompts that are drawn at random.")
    seed: int = key(0, **SEEDS, help="What that draw is made from.")
    write_to: str | None = key(None, is_place=True, help="The Parquet file that `plan` writes the prompts to.")


ModelConfig = schema_of(ModelRef, "ModelConfig")
SamplingConfig = schema_of(Sampling, "SamplingConfig")


@dataclass
class OutputConfig:
    uri: str | None = key(
        None, is_place=True, help="Folder or s3:// address of the run; null: below runs/, named by what is rendered."
    )
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)
    layout: LayoutKind = key(LayoutKind.files, help="An object an image, WebDataset tars, or images inside Parquet.")
    image_format: ImageFormat = key(ImageFormat.png, help="How images are encoded; png loses nothing.")
    quality: int = key(95, low=1, high=100, help="Of webp and jpeg; more is larger and better.")


@dataclass
class EngineConfig:
    kind: EngineKind = key(EngineKind.ray, help="Workers as Ray actors, or one in this process.")
    address: str | None = key(None, help="Address of a Ray cluster; null: a Ray of this machine is started.")
    num_workers: int | None = key(
        None, low=1, high=100_000, help="Workers on Ray; null: one for each GPU, or for each core where there is none."
    )
    batch_size: Any = key(
        8,
        low=1,
        high=4096,
        words=(AUTO,),
        help="Images in every call of the model; auto: what a probe finds fastest.",
    )
    shard_size: int = key(
        64,
        low=1,
        high=1_000_000,
        help="Prompt rows that are scheduled, committed and resumed as one; a run keeps its own.",
    )
    max_attempts: int = key(3, low=1, high=100, help="How often a shard is tried before it is given up.")
    batch_timeout_s: float | None = key(
        None, low=0.1, high=1_000_000, help="Seconds that one call of the model may take before its worker is replaced."
    )
    device: Device = key(Device.auto, help=DEVICE_HELP)
    compile: bool = key(False, help="Compile the model: a slow first batch, faster ones after it.")
    profile: bool = key(False, help="Measure the stages of the job, and store their table and trace in the run.")


@dataclass
class Expectation:
    """Between which values a figure must lie in every cell."""

    figure: str = key(help="Its name, such as inception_v3.fid.")
    lowest: float = key(float("-inf"), help="The smallest value that passes.")
    highest: float = key(float("inf"), help="The largest value that passes.")


@dataclass
class EvaluationConfig:
    """What is measured, against what."""

    reference: str | None = key(None, is_place=True, help=REFERENCE_HELP)
    reference_endpoint_url: str | None = key(None, help=ENDPOINT_HELP)
    extractors: list[Any] = key(lambda: ["demo_clip"], help=_EXTRACTORS)
    metrics: list[str] | None = key(None, help=_METRICS)
    clip_convention: str = key("hessel", help=CONVENTION_HELP)
    seed: int = key(0, **SEEDS, help=STATISTICS_SEED_HELP)
    expect: list[Expectation] = key(
        list,
        help="Figures with the range that each must lie in, such as {figure: inception_v3.fid, highest: 24}; exit "
        "code 1 where one does not.",
    )


# The settings that cells may differ in; each with its values, or none.
GridAxes = make_dataclass(
    "GridAxes",
    [
        (each.name, list[Any] | None, key(None, help=f"Values of {each.name}, in cells of their own."))
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


@dataclass
class HalvingConfig:
    """Successive halving over cells, where `figure` is given."""

    figure: str | None = key(
        None, help="The figure that cells are dropped by, such as demo_clip.clip_score; null: none."
    )
    num_images: int = key(
        64, low=2, high=_MANY, help="Images of each cell in the first round; there are twice as many in the next."
    )
    keep: float = key(0.5, low=0, high=1, help="Share of the cells that go on after a round.")


PROMPT_TEXTS = frozenset(
    each.name for kind in (TemplatePrompts, SamplingConfig) for each in fields(kind) if IS_PROMPT in each.metadata
)

PROMPTS = {"demo": DemoPrompts, "file": FilePrompts, "template": TemplatePrompts}
GROUPS = {
    "model": ModelConfig,
    "sampling": SamplingConfig,
    "output": OutputConfig,
    "engine": EngineConfig,
    "grid": GridConfig,
}
