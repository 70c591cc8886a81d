"""What a caller asks for beside settings, as frozen values: output, engine, evaluation; with defaults, ranges and help.

Every value is checked where it is made: a wrong type, an unknown choice or a number out of range raises DarkroomError.
The command line's keys of the same names are made from these classes.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from darkroom.api.annotations import check_options, option
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import as_builtin, as_number
from darkroom.domain.settings import NUM_SEEDS, SETTINGS
from darkroom.prompts.reading import FORMATS
from darkroom.rendering.backends import BACKENDS

AUTO = "auto"  # a batch size, a shard size, whether a model is compiled, or a backend
RAY_ADDRESS = "RAY_ADDRESS"  # the environment variable by which Ray and its jobs name a cluster
MANY = 1_000_000_000
METRICS_ENDING = ".prom"
_LICENSE, _SPLIT = re.compile(r"[a-z0-9][a-z0-9.+-]*"), re.compile(r"[A-Za-z0-9_]+")
DEVICES = ("auto", "cpu", "cuda", "mps")
_RENDERING = ("plan", "generate", "sweep")  # jobs
_STARTING = (*_RENDERING, "retry", "evaluate")  # an engine
_SPREADING = (*_STARTING, "export")  # work over workers
SEEDS: dict[str, Any] = {"low": 0, "high": NUM_SEEDS - 1}
ENDPOINT_HELP = "Address of an S3 that is not Amazon's, such as http://127.0.0.1:9000; null: Amazon's."
DEVICE_HELP = "Where models compute; auto: the fastest that this machine has."


GROW_HELP = (
    "Let a run of some of these rows grow by the others: new ones are rendered and old images kept, in whatever order "
    "rows are."
)


@dataclass(frozen=True)
class RowOptions:
    """Which rows of the prompts are rendered; chosen in this order."""

    where: str | None = option(
        None, help="Rows that hold this condition in SQL, such as \"aesthetic > 5 and lang = 'en'\"; null: all."
    )
    sample: int | None = option(None, low=1, high=MANY, help="So many rows at random; null: all.")
    shuffle: bool = option(False, help="Rows in random order, in memory.")
    limit: int | None = option(None, low=1, high=MANY, help="The first rows, at most so many; null: all.")
    row_seed: int = option(0, **SEEDS, help="What the sample and the order are drawn from.")
    weights: Sequence[float] = option(
        (),
        help="Of each uri, where there are several: how many of its rows are drawn at random, to those of the others.",
    )

    def __post_init__(self) -> None:
        check_options(self, "prompts.")
        weights = tuple(self.weights)
        for weight in weights:
            if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < math.inf:
                raise DarkroomError(f"prompts.weights={list(weights)}: give positive numbers, such as [3,1]")
        object.__setattr__(self, "weights", weights)
        if self.row_seed and self.sample is None and not self.shuffle and not weights:
            raise DarkroomError(
                f"prompts.row_seed={self.row_seed} does nothing without prompts.sample, prompts.shuffle or "
                "prompts.weights; give one of them, or leave it out"
            )


@dataclass(frozen=True)
class ReadingOptions:
    """As what files of prompts are read."""

    format: str = option(
        AUTO,
        choices=FORMATS,
        help="By their endings (auto), as lines with flags of AUTOMATIC1111's script and choices in braces (a1111), as "
        "requests of OpenAI's Batch API (openai_batch), as images, by the settings in them, or as a run (run, or "
        "run#cell_id), whose images are the pictures of this one's.",
    )
    wildcards: str | None = option(
        None, is_place=True, help="Folder of lists for __name__ in lines of a1111: .txt, .yaml or .json; null: none."
    )
    num_draws: int = option(1, low=1, high=MANY, help="Prompts of a line with choices that has no --n_iter.")
    draw_seed: int = option(0, **SEEDS, help="What choices in lines are drawn from.")
    ignored: Sequence[str] = option(
        (), help="Flags of a1111 that are no settings here and are carried as columns, such as [sd_model, styles]."
    )

    def __post_init__(self) -> None:
        check_options(self, "prompts.")


@dataclass(frozen=True)
class EngineOptions:
    """What executes the work. None of it changes an image; batch_size, compile and backend may move low bits."""

    kind: str = option("local", choices=("ray", "local"), help="Workers as Ray actors, or one in this process.")
    address: str | None = option(
        None,
        on_ray=True,
        jobs=_SPREADING,
        help="Address of a Ray cluster; null: the one that RAY_ADDRESS names, as inside a Ray job, else a Ray of this "
        "machine is started.",
    )
    num_workers: int | None = option(
        None,
        low=1,
        high=100_000,
        on_ray=True,
        jobs=_SPREADING,
        help="Workers on Ray; null: as many as the cluster has room for, also once it grows: one for each GPU, or for "
        "each core where there is none. A number waits for nodes that a cluster starts on demand.",
    )
    num_gpus: float | None = option(
        None,
        low=0.01,
        high=64,
        on_ray=True,
        jobs=_STARTING,
        help="GPUs that each worker takes, such as 0.5 for two workers a GPU; null: one, where models compute on GPUs.",
    )
    resources: Mapping[str, Any] | None = option(
        None,
        is_mapping=True,
        on_ray=True,
        jobs=_SPREADING,
        help="What each worker takes besides of a cluster's own resources, as {name: amount}.",
    )
    accelerator_type: str | None = option(
        None, on_ray=True, jobs=_STARTING, help="The kind of GPU that workers need, as Ray names it, such as A100."
    )
    batch_size: int | str = option(
        8,
        low=1,
        high=4096,
        words=(AUTO,),
        jobs=(*_RENDERING, "retry", "prove"),
        help="Images in every call of the model; auto: what a probe finds fastest.",
    )
    shard_size: int | str = option(
        AUTO,
        low=1,
        high=1_000_000,
        words=(AUTO,),
        jobs=_RENDERING,
        help="Prompt rows that are scheduled, committed and resumed as one; auto: 64, and more where a run would have "
        "more than 100,000 shards. A run keeps its own.",
    )
    part: str | None = option(
        None,
        jobs=("generate", "sweep"),
        help="This command's share of the run's shards as i/n, such as 2/8, for n commands that render one run side by "
        "side; null: all.",
    )
    max_attempts: int = option(
        3, low=1, high=100, jobs=_SPREADING, help="How often a shard is tried before it is given up."
    )
    batch_timeout_s: float | None = option(
        None,
        low=0.1,
        high=1_000_000,
        jobs=(*_RENDERING, "retry"),
        help="Seconds that one call of the model may take before its worker is replaced.",
    )
    device: str = option("auto", choices=DEVICES, jobs=(*_STARTING, "prove"), help=DEVICE_HELP)
    compile: bool | str = option(
        AUTO,
        words=(AUTO,),
        jobs=(*_RENDERING, "retry", "prove"),
        help="Compile the model: a slow first batch, faster ones after it; auto: on a GPU, where the job is long "
        "enough to repay it. A run keeps its own.",
    )
    backend: str = option(
        AUTO,
        choices=BACKENDS,
        jobs=(*_RENDERING, "retry", "prove"),
        help="What computes the denoiser: torch, or openvino for UNets of Stable Diffusion on CPUs; auto: openvino "
        "where it is installed and can, else torch.",
    )
    proof: str = option(
        "adapt",
        choices=("adapt", "required", "exact", "off"),
        jobs=_RENDERING,
        help="What a model's certificate decides (`darkroom prove` makes one): adapt renders without mixed batches, or "
        "one image a batch, where others are seen to change an image; required refuses a model without one, or where a "
        "promise fails; exact also where one holds to rounding alone; off looks at none.",
    )
    profile: bool = option(
        False, jobs=_RENDERING, help="Measure the stages of the job, and store their table and trace in the run."
    )
    price_per_hour: float | None = option(
        None,
        low=0,
        high=MANY,
        jobs=_STARTING,
        help="What a worker costs an hour, in any currency: what is spent is then counted, and kept beside the run.",
    )
    metrics: str | None = option(
        None,
        is_place=True,
        jobs=_STARTING,
        help="A file of metrics for the textfile collector of Prometheus' node_exporter, such as "
        "/var/lib/node_exporter/darkroom.prom; null: none, but workers on Ray have them exported by Ray.",
    )

    def __post_init__(self) -> None:
        check_options(self, "engine.")
        if self.kind == "local":
            self._refuse_of_ray()
        _check_resources(self.num_gpus, self.resources or {})
        _ = self.part_of
        if self.metrics is not None and not self.metrics.endswith(METRICS_ENDING):
            raise DarkroomError(f"engine.metrics={self.metrics}: node_exporter reads files alone whose names end in "
                                f"{METRICS_ENDING}; call it so")  # fmt: skip

    def _refuse_of_ray(self) -> None:
        given = {each.name: getattr(self, each.name) for each in fields(self) if each.metadata["on_ray"]}
        for name, value in given.items():
            if value is not None and (name, value) != ("num_workers", 1):
                raise DarkroomError(
                    f"engine.{name}={value}: engine=local is one worker in this process; leave it out, or use "
                    "engine=ray"
                )

    @property
    def cluster_address(self) -> str | None:
        """Of the Ray cluster that workers are on; None for a Ray of this machine, or none.

        Raises DarkroomError for that of a client or a dashboard.
        """
        if self.kind == "local":
            return None
        address = self.address or os.environ.get(RAY_ADDRESS) or "local"
        if "://" in address:
            named = "engine.address" if self.address else RAY_ADDRESS
            raise DarkroomError(
                f"{named}={address}: workers are not reached by a client or a dashboard; give engine.address=host:6379 "
                "on a machine of the cluster, engine.address=local for this machine, or hand the job over with "
                "`darkroom submit to=ray`"
            )
        return None if address == "local" else address

    @property
    def part_of(self) -> tuple[int, int]:
        """`part` as (its number from 1, the number of parts)."""
        number, _, of = (self.part or "1/1").partition("/")
        if not (number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of)):
            raise DarkroomError(f"engine.part={self.part}: no part of a run; give its number and how many there are, "
                                "such as 1/8 to 8/8")  # fmt: skip
        return int(number), int(of)

    @property
    def part_name(self) -> str:
        """Of `part`, as files are named."""
        return "{}of{}".format(*self.part_of)

    @property
    def images_a_batch(self) -> int:
        """`batch_size` as a number, once `auto` is settled."""
        assert isinstance(self.batch_size, int)
        return self.batch_size

    @property
    def is_compiled(self) -> bool:
        """`compile` as a truth value, once `auto` is settled."""
        assert isinstance(self.compile, bool)
        return self.compile


def _check_resources(num_gpus: float | None, resources: Mapping[str, Any]) -> None:
    """As Ray takes them: more than one GPU is a whole number, and CPUs and GPUs have keys of their own."""
    if num_gpus is not None and num_gpus > 1 and num_gpus != int(num_gpus):
        raise DarkroomError(f"engine.num_gpus={num_gpus:g}: more than one is a whole number; give {round(num_gpus)}")
    for name, amount in resources.items():
        number = as_number(as_builtin(amount), float)
        if name in ("CPU", "GPU"):
            key = "engine.num_gpus" if name == "GPU" else "engine.num_workers"
            raise DarkroomError(f"engine.resources: {name} is not one of a cluster's own resources; use {key}")
        if number is None or not 0 < number < MANY:
            raise DarkroomError(f"engine.resources: {name}={amount}; give an amount above 0, such as {{{name}: 1}}")


@dataclass(frozen=True)
class ModelPlace:
    """Of a run's model, where it is rendered with again: what a stored run does not decide."""

    repo_id: str | None = option(
        None, help="Where the model lies now: its folder, or one that holds it and others; null: where it lay."
    )
    trust_remote_code: bool = option(False, help=SETTINGS["trust_remote_code"].help)
    single_file: str | None = option(
        None, help="Where the model's one file lies now, or its folder; its digest decides. null: where it lay."
    )
    make: str | None = option(
        None,
        help="The renderer of one's own that made the run, as my_module:make; it runs only where it is named here.",
    )
    options: Mapping[str, Any] | None = option(
        None,
        is_mapping=True,
        help="What of the renderer's options is another now, and places such as base_url, as {key: value}.",
    )
    adapters: Sequence[str] | None = option(
        None,
        help="Where LoRAs and other parts of the run's models lie now: files or folders, whose digests decide; null: "
        "where they lay.",
    )


def not_halved(division: str) -> DarkroomError:
    """Refuses a division of a run's work, beside which cells cannot be dropped."""
    return DarkroomError(
        f"{division}: halving drops cells by what all of them show, so that one command renders it all; leave out one "
        "of the two"
    )
