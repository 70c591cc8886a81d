"""The schema of every configuration: unknown keys and wrong types end here, when the configuration is composed.

Mutable dataclasses, since OmegaConf merges into them; frozen domain values are made from them in `jobs`.
"""

from dataclasses import dataclass, field, fields, make_dataclass
from enum import Enum
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from darkroom.domain.requests import ROW_COLUMNS

IS_PLACE = "is_place"  # metadata of keys that may name a file or folder of this machine: `~` is the home folder there
IS_PROMPT = "is_prompt"  # metadata of keys whose text is for a model


def place(default: Any = MISSING) -> Any:
    """A field whose text may name a file or folder."""
    return field(default=default, metadata={IS_PLACE: True})


def prompt_text(default: Any = MISSING) -> Any:
    """A field whose text a model reads: it is no address, whatever it looks like."""
    return field(default=default, metadata={IS_PROMPT: True})


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


class Dtype(Enum):
    auto = "auto"
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    float8 = "float8"  # its attention and feed-forward layers; bfloat16 elsewhere


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
    kind: PromptsKind = PromptsKind.demo


# What is read -> the column that it is read from; null: from none, and a column of that name is only carried.
PromptColumns = make_dataclass("PromptColumns", [(name, str | None, name) for name in ("prompt", *ROW_COLUMNS)])


@dataclass
class FilePrompts:
    kind: PromptsKind = PromptsKind.file
    uri: str = place()
    on_invalid: OnInvalid = OnInvalid.fail
    endpoint_url: str | None = None
    columns: PromptColumns = field(default_factory=PromptColumns)  # type: ignore[valid-type]


@dataclass
class TemplatePrompts:
    kind: PromptsKind = PromptsKind.template
    pattern: str = prompt_text()
    slots: Any = None  # slot -> its values
    mode: TemplateMode = TemplateMode.product
    num_prompts: int | None = None
    seed: int = 0
    write_to: str | None = place(None)


@dataclass
class ModelConfig:
    repo_id: str = place()
    revision: str | None = None
    dtype: Dtype = Dtype.auto
    variant: str | None = None
    trust_remote_code: bool = False


@dataclass
class SamplingConfig:
    scheduler: str = "default"
    guidance_scale: float = 5.0
    num_inference_steps: int = 20
    num_images_per_prompt: int = 1
    height: int | None = None
    width: int | None = None
    negative_prompt: str = prompt_text("")
    seed: int = 0
    guidance_start: float = 0.0  # guidance acts from this share of the steps ...
    guidance_stop: float = 1.0  # ... to this one: fewer steps with it are faster, and another picture
    cache_interval: int = 1  # of so many calls of the UNet one computes all: faster, and another picture


@dataclass
class OutputConfig:
    uri: str | None = place(None)
    endpoint_url: str | None = None
    layout: LayoutKind = LayoutKind.files
    image_format: ImageFormat = ImageFormat.png
    quality: int = 95


@dataclass
class EngineConfig:
    kind: EngineKind = EngineKind.ray
    address: str | None = None
    num_workers: int | None = None
    batch_size: Any = 8  # or auto
    shard_size: int = 64
    max_attempts: int = 3
    batch_timeout_s: float | None = None
    device: Device = Device.auto
    compile: bool = False
    profile: bool = False


@dataclass
class Expectation:
    """Between which values a figure must lie in every cell."""

    figure: str = MISSING  # such as inception_v3.fid
    lowest: float = float("-inf")
    highest: float = float("inf")


@dataclass
class EvaluationConfig:
    """What is measured, against what."""

    reference: str | None = place(None)  # demo, images, tars, Parquet, a run, or an .npz of statistics
    reference_endpoint_url: str | None = None
    extractors: list[Any] = field(default_factory=lambda: ["demo_clip"])
    metrics: list[str] | None = None  # such as clip.kid, or kid of all that have it; None: what extractors are made for
    clip_convention: str = "hessel"
    seed: int = 0  # of subsets and resamples
    expect: list[Expectation] = field(default_factory=list)  # exit code 1 where a figure is another


@dataclass
class GenerateConfig:
    """Of `plan` and `generate`."""

    prompts: Any = MISSING
    model: ModelConfig = MISSING
    sampling: SamplingConfig = MISSING
    output: OutputConfig = MISSING
    engine: EngineConfig = MISSING
    evaluate: EvaluateMode = EvaluateMode.none
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)  # where evaluate is not none


@dataclass
class GridAxes:
    """The settings that cells may differ in, of `sampling` and of `model`; each with its values, or none."""

    scheduler: list[Any] | None = None
    guidance_scale: list[Any] | None = None
    num_inference_steps: list[Any] | None = None
    height: list[Any] | None = None
    width: list[Any] | None = None
    negative_prompt: list[Any] | None = None
    guidance_start: list[Any] | None = None
    guidance_stop: list[Any] | None = None
    cache_interval: list[Any] | None = None
    repo_id: list[Any] | None = None
    revision: list[Any] | None = None
    dtype: list[Any] | None = None
    variant: list[Any] | None = None


NO_AXES = {
    "seed": "cells share their noise, so that they differ by their settings alone; sampling.num_images_per_prompt=4 "
    "gives each prompt four seeds, and another run (sampling.seed, output.uri) other ones",
    "num_images_per_prompt": "cells share their images' noise one by one, so all have equally many; give it once as "
    "sampling.num_images_per_prompt",
    "trust_remote_code": "whether a model's own code may run is said once, by the command, as model.trust_remote_code",
}  # settings of `sampling` and `model` that tell no cells apart, and why


@dataclass
class GridConfig:
    """Which cells a sweep has."""

    axes: GridAxes = field(default_factory=GridAxes)
    mode: GridMode = GridMode.product
    cells: list[dict[str, Any]] = field(default_factory=list)  # more cells, each as its settings
    exclude: list[dict[str, Any]] = field(default_factory=list)  # a cell that matches all of one is left out
    num_cells: int | None = None  # a random subset
    seed: int = 0  # of that subset


@dataclass
class HalvingConfig:
    """Successive halving over cells, where `figure` is given."""

    figure: str | None = None  # such as demo_clip.clip_score
    num_images: int = 64  # of each cell in the first round; twice as many in the next
    keep: float = 0.5  # share of the cells that go on


@dataclass
class SweepConfig(GenerateConfig):
    grid: GridConfig = MISSING
    halving: HalvingConfig = field(default_factory=HalvingConfig)


@dataclass
class RunConfig:
    """Of `status`: an existing run, by its address."""

    run: str = place()
    endpoint_url: str | None = None


@dataclass
class AgainConfig:
    """Of a run's model, where it is rendered with again: what a stored run does not decide."""

    repo_id: str | None = None  # where it lies now: its folder, or one that holds it and others; None: where it lay
    trust_remote_code: bool = False


@dataclass
class RetryConfig(RunConfig):
    engine: EngineConfig = MISSING
    model: AgainConfig = field(default_factory=AgainConfig)


@dataclass
class EvaluateConfig(EvaluationConfig, RunConfig):
    engine: EngineConfig = MISSING


@dataclass
class PlaceConfig:
    """A folder or s3:// address."""

    uri: str | None = place(None)
    endpoint_url: str | None = None


@dataclass
class ReportConfig(RunConfig):
    output: PlaceConfig = field(default_factory=PlaceConfig)  # where the page goes; None: report/ under the run
    num_prompts: int = 24  # shown in every cell, at most


@dataclass
class CompareConfig:
    """Runs by their addresses; `uri#cell_id` for a cell of a sweep."""

    a: str = place()
    b: str = place()
    endpoint_url: str | None = None
    metrics: list[str] | None = None  # such as demo_clip.clip_score; None: all of the extractors that have intervals
    extractors: list[Any] | None = None  # as in `evaluate`; None: those that the metrics name
    reference: str | None = place(None)
    reference_endpoint_url: str | None = None
    clip_convention: str = "hessel"
    tolerance: float = 0.0  # by which b may be worse, in each metric's own unit
    seed: int = 0  # of subsets and resamples


@dataclass
class VerifyConfig(RunConfig):
    num_images: int = 16
    seed: int = 0
    image_id: str | None = None
    device: Device = Device.auto
    stored: bool = False  # compare every image's stored bytes, and render nothing
    model: AgainConfig = field(default_factory=AgainConfig)


@dataclass
class RepairConfig(RunConfig):
    device: Device = Device.auto
    model: AgainConfig = field(default_factory=AgainConfig)


@dataclass
class GcConfig(RunConfig):
    older_than_s: float = 3600.0
    dry_run: bool = False
    incomplete: bool = False  # also in a run with shards left, on which no job may be working


@dataclass
class TrainDemoConfig:
    folder: str = place()
    seed: int = 0
    num_threads: int = 1


@dataclass
class CheckDemoConfig:
    model_folder: str | None = place(None)
    clip_folder: str | None = place(None)
    num_captions: int = 512
    seed: int = 0


@dataclass
class BenchConfig:
    """Which ratios are measured, on how much work."""

    figures: list[str] | None = None  # None: all
    scale: float = 1.0  # of every size; at 0.01 most take seconds, and say little
    num_repeats: int = 5
    num_workers: int | None = None  # on Ray; None: all cores, or all GPUs
    device: Device = Device.auto
    write_to: str = place("bench.json")


PROMPT_TEXTS = frozenset(
    each.name for kind in (TemplatePrompts, SamplingConfig) for each in fields(kind) if IS_PROMPT in each.metadata
)


def register() -> None:
    """Tell Hydra about the schemas; the YAML files build on them by name."""
    store = ConfigStore.instance()
    for name, node in {"demo": DemoPrompts, "file": FilePrompts, "template": TemplatePrompts}.items():
        store.store(group="prompts", name=f"{name}_schema", node=node)
    for group, node in {
        "model": ModelConfig,
        "sampling": SamplingConfig,
        "output": OutputConfig,
        "engine": EngineConfig,
        "grid": GridConfig,
    }.items():
        store.store(group=group, name="schema", node=node)
    for name, node in {
        "generate": GenerateConfig,
        "sweep": SweepConfig,
        "status": RunConfig,
        "retry": RetryConfig,
        "verify": VerifyConfig,
        "report": ReportConfig,
        "evaluate": EvaluateConfig,
        "compare": CompareConfig,
        "repair": RepairConfig,
        "gc": GcConfig,
        "train_demo": TrainDemoConfig,
        "check_demo": CheckDemoConfig,
        "bench": BenchConfig,
    }.items():
        store.store(name=f"{name}_schema", node=node)
