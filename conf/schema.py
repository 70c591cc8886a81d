"""The schema of every job: unknown keys and wrong types end here, when its configuration is composed.

Mutable dataclasses, since OmegaConf merges into them; frozen domain values are made from them in `jobs`.
"""

from dataclasses import dataclass, make_dataclass
from functools import cache
from typing import Any

from hydra.core.config_store import ConfigStore

from darkroom.api.evaluation_options import ComparisonOptions, CopiesOptions, RatingOptions
from darkroom.api.export_options import ExportOptions
from darkroom.api.options import DEVICE_HELP, ENDPOINT_HELP, SEEDS
from darkroom.conf.groups import (
    COUNTS,
    GROUPS,
    PLUG_IN_MODELS,
    PROMPTS,
    REWRITE,
    C2paConfig,
    Device,
    EngineConfig,
    EvaluateEngineConfig,
    EvaluateMode,
    EvaluationConfig,
    ExportEngineConfig,
    GridConfig,
    GridImageConfig,
    HalvingConfig,
    LogMode,
    ModelConfig,
    ModelPlaceConfig,
    OutputConfig,
    ProveEngineConfig,
    RetryEngineConfig,
    SamplingConfig,
)
from darkroom.conf.keys import key, schema_of_options, word_of
from darkroom.conf.targets import TARGETS, RayAddress

ON_END_HELP = (
    "What is told of the job's end, however it ends, as JSON: a command, an http(s):// address, or env:NAME for what "
    "that environment variable holds."
)
WORDS_HELP = "A file of words that are looked for in prompts, one a line."
LOG_HELP = "How progress is said: auto is a bar on a terminal and lines elsewhere; json is one JSON object a line."


@dataclass
class GenerateConfig:
    """Of `generate`, and of `plan`."""

    prompts: Any = key(help="What is rendered.")
    model: ModelConfig = key(help="What renders it.")
    sampling: SamplingConfig = key(help="How it is rendered.")
    output: OutputConfig = key(help="Where images go, and as what.")
    engine: EngineConfig = key(help="What does the work.")
    evaluate: EvaluateMode = key(EvaluateMode.none, help="Measure images as they are rendered, and the run at its end.")
    evaluation: EvaluationConfig = key(
        EvaluationConfig, help="What is measured, where evaluate is inline; its extractors are those of policy too."
    )
    policy: list[Any] = key(
        list, help="What becomes of images by their scores, such as {figure: nsfw.score, above: 0.5, then: drop}."
    )
    log: LogMode = key(LogMode.auto, help=LOG_HELP)
    on_end: str | None = key(None, help=ON_END_HELP)


@dataclass
class PlanConfig(GenerateConfig):
    report: str | None = key(
        None,
        is_place=True,
        help="The page (.html) that says what prompts are like: lengths, repeats, balance, languages; true: "
        "prompts_report.html.",
    )
    words: str | None = key(None, is_place=True, help=WORDS_HELP)


@dataclass
class PromptsConfig:
    """Prompts alone, without a model."""

    prompts: Any = key(help="What is looked at, and written.")
    num_shown: int = key(10, low=0, high=10_000, help="Rows that are printed.")
    start: int = key(0, low=0, high=10**15, help="The row that they begin with.")
    write_to: str | None = key(
        None,
        is_place=True,
        help="The .parquet or .jsonl file that all rows are written to, with their ids; null: none.",
    )


@dataclass
class RewriteConfig:
    """Prompts alone, and a language model."""

    prompts: Any = key(help="What is rewritten.")
    rewrite: Any = key(help="What rewrites it, and how.")
    to: str = key(
        is_place=True,
        help="Folder or s3:// address of the rewritten prompts: empty, or one that the same command began.",
    )
    to_endpoint_url: str | None = key(None, help=ENDPOINT_HELP)


@dataclass
class ProveConfig:
    model: ModelConfig = key(help="What is tested.")
    sampling: SamplingConfig = key(help="What it is tested with: its size, and where no test changes them the rest.")
    engine: ProveEngineConfig = key(help="What the test runs on: this machine's device.")


@dataclass
class SweepConfig(GenerateConfig):
    grid: GridConfig = key(help="Which cells there are.")
    halving: HalvingConfig = key(HalvingConfig, help="Early choice of cells.")


@dataclass
class RunConfig:
    """An existing run, by its address."""

    run: str = key(is_place=True, help="Folder or s3:// address of the run.")
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)


@dataclass
class StatusConfig(RunConfig):
    json: bool = key(False, help="Print one JSON object, for programs.")


@dataclass
class RetriedOutput:
    """Of a run, what no run keeps."""

    c2pa: C2paConfig = key(C2paConfig, help="What signs, where the run's images have signed manifests.")


@dataclass
class RetryConfig(RunConfig):
    engine: RetryEngineConfig = key(help="What does the work.")
    model: ModelPlaceConfig = key(ModelPlaceConfig, help="Where the run's model is.")
    extractors: list[Any] | None = key(
        None, help="Those of the run's policy, as in evaluate; null: as they were named, where they run no code."
    )
    output: RetriedOutput = key(RetriedOutput, help="What signs its images.")
    log: LogMode = key(LogMode.auto, help=LOG_HELP)
    on_end: str | None = key(None, help=ON_END_HELP)


EvaluateConfig = make_dataclass(
    "EvaluateConfig",
    [
        ("engine", EvaluateEngineConfig, key(help="What does the work.")),
        ("log", LogMode, key(LogMode.auto, help=LOG_HELP)),
        ("on_end", str | None, key(None, help=ON_END_HELP)),
    ],
    bases=(EvaluationConfig, RunConfig),
)


@dataclass
class PlaceConfig:
    """A folder or s3:// address."""

    uri: str | None = key(None, is_place=True, help="Folder or s3:// address; null: report/ in the run.")
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)


@dataclass
class RatingPlaceConfig:
    """A folder or s3:// address."""

    uri: str | None = key(None, is_place=True, help="Folder or s3:// address; null: a folder of its own in the run.")


@dataclass
class ReportConfig(RunConfig):
    output: PlaceConfig = key(PlaceConfig, help="Where the page goes.")
    num_prompts: int = key(24, **COUNTS, help="Prompts that are shown in every cell, at most.")
    grid: GridImageConfig = key(GridImageConfig, help="Of grid.png, all of a sweep's cells in one labelled picture.")
    words: str | None = key(None, is_place=True, help=WORDS_HELP)


@dataclass
class ComparedRuns:
    """Runs by their addresses; `uri#cell_id` for a cell of a sweep."""

    a: str = key(is_place=True, help="The run to compare with, or run#cell_id for a cell of a sweep.")
    b: str = key(is_place=True, help="The run that may be worse, or run#cell_id.")
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)


CompareConfig = make_dataclass(
    "CompareConfig", [], bases=(schema_of_options(ComparisonOptions, "ComparisonConfig"), ComparedRuns)
)


@dataclass
class RatedRun(RunConfig):
    votes: list[str] | None = key(
        None,
        is_place=True,
        help="Files of votes that raters sent back, which are stored with the run and counted with all that it holds; "
        "[]: those alone; null: the page is written.",
    )
    votes_endpoint_url: str | None = key(None, help=ENDPOINT_HELP)
    output: RatingPlaceConfig = key(RatingPlaceConfig, help="Where the page goes.")


RateConfig = make_dataclass("RateConfig", [], bases=(schema_of_options(RatingOptions, "RatingConfig"), RatedRun))


FindCopiesConfig = make_dataclass(
    "FindCopiesConfig", [], bases=(schema_of_options(CopiesOptions, "CopiesConfig"), RunConfig)
)


@dataclass
class ExportedRun(RunConfig):
    to: str = key(
        is_place=True, help="Folder or s3:// address of the dataset: empty, or one that the same command began."
    )
    to_endpoint_url: str | None = key(None, help=f"{ENDPOINT_HELP[:-1]}, or endpoint_url.")
    engine: ExportEngineConfig = key(help="What does the work.")
    on_end: str | None = key(None, help=ON_END_HELP)


ExportConfig = make_dataclass(
    "ExportConfig", [], bases=(schema_of_options(ExportOptions, "ExportOptionsConfig"), ExportedRun)
)


@dataclass
class PushConfig:
    """Of an export, by its address."""

    dataset: str = key(is_place=True, help="Folder or s3:// address of the dataset, as `export` wrote it.")
    endpoint_url: str | None = key(None, help=ENDPOINT_HELP)
    repo_id: str = key(help="Repository of the hub, such as someone/circles; it is made where it is not there.")
    private: bool = key(True, help="Whether the repository is seen by its owner alone; one that is there must be so.")
    replace: bool = key(
        False, help="Remove files of the repository that are not of this dataset; false: they are refused."
    )
    on_end: str | None = key(None, help=ON_END_HELP)


@dataclass
class VerifyConfig(RunConfig):
    num_images: int = key(16, **COUNTS, help="Images that are rendered again, at most.")
    seed: int = key(0, **SEEDS, help="What those images are drawn from.")
    image_id: str | None = key(None, help="The one image to render again; null: a random sample.")
    device: Device = key(Device.auto, help=DEVICE_HELP)
    stored: bool = key(False, help="Compare the stored bytes of every image, and render nothing.")
    c2pa: bool = key(False, help="Read every signed manifest and hold it against its image, and render nothing.")
    trust_anchors: str | None = key(
        None, is_place=True, help="A PEM file of root certificates that are trusted to have signed; null: none is."
    )
    model: ModelPlaceConfig = key(ModelPlaceConfig, help="Where the run's model is.")


@dataclass
class RepairConfig(RunConfig):
    device: Device = key(Device.auto, help=DEVICE_HELP)
    model: ModelPlaceConfig = key(ModelPlaceConfig, help="Where the run's model is.")


@dataclass
class GcConfig(RunConfig):
    older_than_s: float = key(3600.0, low=0, high=1e12, help="Seconds since which a file was written that is removed.")
    dry_run: bool = key(False, help="Say what would be removed, and remove nothing.")
    incomplete: bool = key(False, help="Also in a run with shards left, on which no job may be working.")
    manifests: bool = key(
        False,
        help="Also remove manifests that `darkroom compact`, or the job that rendered them, has copied: the copies "
        "stand for them from then on. No job may be working on the run.",
    )


# Those that a cluster may do: they render or measure, and leave what they make in the store.
SUBMITTED = ("generate", "sweep", "evaluate", "retry", "verify", "repair", "report", "export", "merge")


@dataclass
class SubmitConfig:
    """Also the words of the job, which are all that are no keys of this schema."""

    to: Any = key(help="Which cluster does it.")
    job: word_of("job", SUBMITTED) = key(help="The job; its own words are given beside these.")  # type: ignore[valid-type]
    job_words: list[str] = key(list, help="The job's own words: all others of this command, not given as a key.")
    shared: list[str] = key(
        list, help="Absolute folders that every machine of the cluster sees as this one does, such as [/mnt/data]."
    )
    dry_run: bool = key(False, help="Check everything and print what would be submitted, and submit nothing.")
    follow: bool | None = key(
        None, help="Whether to wait, and end with the job's own exit code; null: where the cluster can be waited for."
    )


@dataclass
class JobsConfig(RayAddress):
    """Jobs that were submitted to a Ray cluster."""

    id: str | None = key(None, help="The one job that is asked for, as `darkroom submit` has named it; null: all.")
    stop: bool = key(False, help="Stop that job; what it has committed stays.")
    follow: bool = key(False, help="Print that job's log until its end, and end with its exit code.")
    json: bool = key(False, help="Print one JSON object, for programs.")


@dataclass
class TrainDemoConfig:
    folder: str = key(is_place=True, help="Where the model and its checkpoints go.")
    seed: int = key(0, **SEEDS, help="What weights and training images are drawn from.")
    num_threads: int = key(1, low=1, high=100_000, help="CPU threads; another number gives other low bits.")


@dataclass
class TrainDemoLorasConfig:
    folder: str = key(is_place=True, help="Where the LoRAs and their checkpoints go.")
    styles: list[str] | None = key(None, help="Styles to train a LoRA for each of; null: all.")
    model_folder: str | None = key(None, is_place=True, help="The model that they are for; null: the embedded one.")
    seed: int = key(0, **SEEDS, help="What weights and training images are drawn from.")
    num_threads: int = key(1, low=1, high=100_000, help="CPU threads; another number gives other low bits.")


@dataclass
class CheckDemoConfig:
    model_folder: str | None = key(None, is_place=True, help="The model to check; null: the embedded one.")
    loras_folder: str | None = key(None, is_place=True, help="The LoRAs to check; null: the embedded ones.")
    clip_folder: str | None = key(None, is_place=True, help="The CLIP to check; null: the embedded one.")
    num_captions: int = key(512, **COUNTS, help="Captions that are rendered at every setting.")
    seed: int = key(0, **SEEDS, help="What captions and noise are drawn from.")


@dataclass
class BenchConfig:
    """Which ratios are measured, on how much work."""

    figures: list[str] | None = key(None, help="Names of benchmarks; null: all.")
    scale: float = key(
        1.0, low=0.0001, high=1000, help="Factor of every size; at 0.01 most take seconds, and say little."
    )
    num_repeats: int = key(5, low=1, high=1_000_000, help="How often each side of a ratio is measured, in turns.")
    num_workers: int | None = key(None, low=1, high=100_000, help="Workers on Ray; null: all cores, or all GPUs.")
    device: Device = key(Device.auto, help=DEVICE_HELP)
    write_to: str = key("bench.json", is_place=True, help="The JSON file that every repeat's seconds go to.")


JOBS = {
    "generate": GenerateConfig,
    "plan": PlanConfig,
    "prompts": PromptsConfig,
    "rewrite": RewriteConfig,
    "prove": ProveConfig,
    "sweep": SweepConfig,
    "status": StatusConfig,
    "retry": RetryConfig,
    "verify": VerifyConfig,
    "report": ReportConfig,
    "evaluate": EvaluateConfig,
    "compare": CompareConfig,
    "rate": RateConfig,
    "find_copies": FindCopiesConfig,
    "export": ExportConfig,
    "merge": ExportConfig,
    "push": PushConfig,
    "repair": RepairConfig,
    "compact": RunConfig,
    "gc": GcConfig,
    "submit": SubmitConfig,
    "jobs": JobsConfig,
    "train_demo": TrainDemoConfig,
    "train_demo_loras": TrainDemoLorasConfig,
    "check_demo": CheckDemoConfig,
    "bench": BenchConfig,
}


# Jobs that do another: a word that is none of their own goes to this key.
WORDS_OF_ANOTHER = {"submit": "job_words"}


# Groups of which a job has other keys than the rest.
JOB_GROUPS: dict[str, dict[str, Any]] = {
    "evaluate": {"engine": EvaluateEngineConfig},
    "export": {"engine": ExportEngineConfig},
    "merge": {"engine": ExportEngineConfig},
    "retry": {"engine": RetryEngineConfig},
    "prove": {"engine": ProveEngineConfig},
}


def register(job: str) -> None:
    """Tell Hydra about the schemas, as the job has them; the YAML files build on them by name."""
    _register_shared()
    store = ConfigStore.instance()
    for group in {name for groups in JOB_GROUPS.values() for name in groups}:
        store.store(group=group, name="schema", node=JOB_GROUPS.get(job, {}).get(group, GROUPS[group]))


@cache
def _register_shared() -> None:
    """Those that all jobs share, once a process: each takes a millisecond."""
    store = ConfigStore.instance()
    named = {"prompts": PROMPTS, "to": TARGETS, "rewrite": REWRITE, "model": PLUG_IN_MODELS}
    for group, nodes in named.items():
        for name, node in nodes.items():
            store.store(group=group, name=f"{name}_schema", node=node)
    for group, node in GROUPS.items():
        store.store(group=group, name="schema", node=node)
    for name, node in JOBS.items():
        store.store(name=f"{name}_schema", node=node)
