"""What a caller asks for beside settings, as frozen values: output, engine, evaluation; with defaults, ranges and help.

Every value is checked where it is made: a wrong type, an unknown choice or a number out of range raises DarkroomError.
The command line's keys of the same names are made from these classes.
"""

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from darkroom.api.annotations import check_options, option
from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials
from darkroom.domain.policy import DROP, KEEP, REGENERATE, USUAL_ATTEMPTS
from darkroom.domain.setting_values import as_builtin, as_number
from darkroom.domain.settings import NUM_SEEDS, SETTINGS
from darkroom.domain.trajectories import MOST_STEPS, NUM_STEPS, SIDE
from darkroom.prompts.reading import FORMATS
from darkroom.rendering.backends import BACKENDS
from darkroom.rewriting.questions import INSTRUCTION
from darkroom.runs.overlays import OverlayFault, OverlaySettings, check_colour, read_box
from darkroom.runs.signing import ENVIRONMENT, TEST, Signing
from darkroom.runs.watermarks import check_text
from darkroom.storage.store import endpoint_of_no_store, is_remote

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
_REFERENCE_HELP = (
    "What images are compared with: demo, a folder or address of images, tars or Parquet, a run, an .npz file; several "
    "as {name: address}, whose figures are called clip.kid@name; null: nothing."
)
_CONVENTION_HELP = "The scale of CLIP scores: hessel (2.5 times the cosine, cut at 0), x100 or mlperf (100 times)."
_PROJECTIONS_HELP = "Random directions that MIND projects features on; a large number is slow and steady."
_STATISTICS_SEED_HELP = "What subsets, resamples and MIND's directions are drawn from."


GROW_HELP = (
    "Let a run of some of these rows grow by the others: new ones are rendered and old images kept, in whatever order "
    "rows are."
)


def absolute(path: str) -> str:
    """Of a file on every worker's machine."""
    return str(Path(path).expanduser().absolute())


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
        "requests of OpenAI's Batch API (openai_batch), or as images, by the settings in them.",
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
class WatermarkOptions:
    """An invisible mark in images' pixels."""

    text: str | None = option(
        None,
        help="What the mark says: 3 to 8 ASCII characters; null: no mark. Records say of each image whether it is "
        "found, since it does not hold on flat colours such as white.",
    )

    def __post_init__(self) -> None:
        check_options(self, "output.watermark.")
        if self.text is not None:
            check_text(self.text)


@dataclass(frozen=True)
class C2paOptions:
    """What signs a C2PA manifest of each image."""

    certificate: str | None = option(
        None,
        is_place=True,
        help="A PEM file with the certificate and those that lead to its root, on every worker's machine; test: one "
        "that each worker makes for itself, and nobody trusts. null: no manifests.",
    )
    private_key: str | None = option(
        None,
        is_place=True,
        help="The certificate's private key: a PEM file, or env:NAME for what that environment variable holds; read by "
        "workers, and kept nowhere.",
    )

    def __post_init__(self) -> None:
        check_options(self, "output.c2pa.")
        if "-----BEGIN" in (self.private_key or ""):
            raise DarkroomError(
                "output.c2pa.private_key holds a key itself, which commands and logs would keep; name its file, or "
                "env:NAME"
            )
        is_own = self.certificate not in (None, TEST)
        if self.private_key is not None and not is_own:
            raise DarkroomError(
                f"output.c2pa.private_key={self.private_key}: it does nothing without the certificate that it is of; "
                "give output.c2pa.certificate, or leave it out"
            )
        if is_own and self.private_key is None:
            raise DarkroomError(
                f"output.c2pa.certificate={self.certificate}: its private key is missing; give "
                "output.c2pa.private_key, a PEM file or env:NAME"
            )

    def signing(self, says_prompts: bool) -> Signing | None:
        """None: nothing is signed."""
        if self.certificate is None or self.certificate == TEST:
            return Signing(TEST, says_prompts=says_prompts) if self.certificate else None
        key = self.private_key or ""
        key = key if key.startswith(ENVIRONMENT) else absolute(key)  # workers have working folders of their own
        return Signing(absolute(self.certificate), key, says_prompts)


@dataclass(frozen=True)
class OverlayOptions:
    """Text that is drawn on images, by columns of their prompts' rows."""

    text: str | None = option(
        None, help="The column with the text that is drawn on an image; a row without one has none. null: no texts."
    )
    font: str | None = option(
        None, help="The column with a font's file (TrueType or OpenType), which every worker's machine has."
    )
    box: str | None = option(
        None,
        help="The column with the box that a text is fitted into: left, top, right and bottom as shares of the image, "
        "or, where one is above 1, in pixels.",
    )
    colour: str | None = option(
        None, help="The column with the text's colour: a name of CSS, #rrggbb, or #rrggbbaa with how opaque it is."
    )
    default_font: str | None = option(
        None, is_place=True, help="The font's file where a row names none; null: Pillow's own, which has ASCII alone."
    )
    default_box: str = option("0.05,0.75,0.95,0.95", help="The box where a row gives none.")
    default_colour: str = option("white", help="The colour where a row gives none.")

    def __post_init__(self) -> None:
        check_options(self, "output.overlay.")
        if self.text is None:
            for each in fields(self):
                if (value := getattr(self, each.name)) != each.default:
                    raise DarkroomError(
                        f"output.overlay.{each.name}={value}: it does nothing without a text; give "
                        "output.overlay.text, the column that holds it, or leave it out"
                    )
        try:
            read_box(self.default_box)
            check_colour(self.default_colour)
        except OverlayFault as fault:
            raise DarkroomError(f"output.overlay: the default {fault}") from None

    @property
    def settings(self) -> OverlaySettings | None:
        """Without the fonts' digests; None: nothing is drawn."""
        if self.text is None:
            return None
        font = None if self.default_font is None else absolute(self.default_font)
        return OverlaySettings(**{**vars(self), "default_font": font})


@dataclass(frozen=True)
class OutputOptions:
    """Where images go, and as what."""

    uri: str | None = option(
        None, is_place=True, help="Folder or s3:// address of the run; null: below runs/, named by what is rendered."
    )
    endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    layout: str = option(
        "files",
        choices=("files", "webdataset", "parquet"),
        help="An object an image, WebDataset tars, or images inside Parquet.",
    )
    image_format: str = option(
        "png", choices=("png", "webp", "jpeg"), help="How images are encoded; png loses nothing."
    )
    quality: int = option(95, low=1, high=100, help="Of webp and jpeg; more is larger and better.")
    provenance: bool = option(
        True,
        help="Whether each file says that a model made it, which one, and of which prompt (IPTC digital source type in "
        "XMP); in webp and jpeg its settings too, as png has them. Files of an images API stay as they came.",
    )
    trajectory: bool = option(
        False,
        help="Whether it is stored how some images form: x_t and predicted x_0 of chosen steps, as pictures of at most "
        f"{SIDE} pixels a side, in a PNG an image beside the images. These stay as they are.",
    )
    trajectory_prompts: int = option(
        4, low=1, high=64, help="So many prompts, the first ones, whose first image in each cell has a trajectory."
    )
    trajectory_steps: Sequence[int] | None = option(
        None,
        help=f"Steps of trajectories, counted from 1, such as [1, 5, 20]; {MOST_STEPS} at most. null: {NUM_STEPS} from "
        "the first to the last.",
    )
    overlay: OverlayOptions = option(OverlayOptions(), help="Text on images.")  # noqa: RUF009, frozen
    watermark: WatermarkOptions = option(WatermarkOptions(), help="An invisible mark.")  # noqa: RUF009, frozen
    c2pa: C2paOptions = option(C2paOptions(), help="Signed manifests.")  # noqa: RUF009, frozen

    def __post_init__(self) -> None:
        check_options(self, "output.")
        self._check_trajectory()
        if self.uri is not None and has_credentials(self.uri):
            raise credentials_in("output.uri")
        if self.image_format == "png" and self.quality != OutputOptions.quality:
            raise DarkroomError(
                f"output.quality={self.quality} is of webp and jpeg, and output.image_format is png; leave it out, or "
                "choose another format"
            )
        if self.endpoint_url is not None and not is_remote(self.uri or ""):
            where = "not given, which is a folder" if self.uri is None else f"the folder {self.uri}"
            raise endpoint_of_no_store(where)

    def _check_trajectory(self) -> None:
        steps = self.trajectory_steps
        for name in ("trajectory_prompts", "trajectory_steps"):
            if not self.trajectory and getattr(self, name) != getattr(OutputOptions, name):
                value = _listed(getattr(self, name))
                raise DarkroomError(
                    f"output.{name}={value} does nothing without output.trajectory=true; give both, or leave it out"
                )
        if steps is None:
            return
        in_order = all(before < after for before, after in pairwise([0, *steps]))
        if not steps or len(steps) > MOST_STEPS or not in_order:
            raise DarkroomError(
                f"output.trajectory_steps={_listed(steps)}: give 1 to {MOST_STEPS} steps, counted from 1, each once "
                "and in order, such as [1, 5, 20]"
            )


def _listed(value: Any) -> Any:
    """As the command line has it."""
    return list(value) if isinstance(value, tuple) else value


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


# Rewriting ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class RewriteOptions:
    """How prompts are rewritten, whatever does it."""

    model: str = option(
        is_place=True,
        help="The language model: a folder in transformers' layout, a hub id or an s3:// address; of openai, its name "
        "at the server.",
    )
    instruction: str = option(INSTRUCTION, help="What the model is told to do with each prompt.")
    num_rewrites: int = option(1, low=1, high=1000, help="Rewrites of each prompt, each with a seed of its own.")
    advice: Mapping[str, Any] | None = option(
        None,
        is_mapping=True,
        help="Lists of hints, such as {style: [watercolour, photograph], light: [dawn, neon]}: each rewrite is given "
        "one of each, drawn by its seed; null: none.",
    )
    temperature: float = option(0.7, low=0, high=2, help="How freely words are drawn; 0: the likeliest ones.")
    top_p: float = option(0.9, low=0.01, high=1, help="Words are drawn of the likeliest, up to this probability.")
    max_new_tokens: int = option(
        256, low=1, high=100_000, help="Tokens of an answer; one that has not ended by then is not used."
    )
    seed: int = option(0, **SEEDS, help="What each rewrite's own seed is drawn from, with the prompt's text.")
    shard_size: int = option(256, low=1, high=1_000_000, help="Prompt rows that are written and resumed as one file.")

    def __post_init__(self) -> None:
        check_options(self, "rewrite.")
        if has_credentials(self.model):
            raise credentials_in("rewrite.model")
        if not self.instruction.strip():
            raise DarkroomError("rewrite.instruction is empty; say what the model does, or leave it out")
        _ = self.hints

    @property
    def hints(self) -> dict[str, list[str]]:
        """`advice` as lists of texts."""
        found = {}
        for name, values in (self.advice or {}).items():
            values = [values] if isinstance(values, str) else as_builtin(values)
            if not isinstance(values, list | tuple) or not values or not all(isinstance(each, str) for each in values):
                raise DarkroomError(f"rewrite.advice: {name}={values}: give a list of texts, such as [a, b]")
            found[str(name)] = list(values)
        return found


@dataclass(frozen=True, kw_only=True)
class TransformersRewriteOptions(RewriteOptions):
    """By a language model on this machine."""

    revision: str | None = option(None, help=SETTINGS["revision"].help)
    dtype: str = option(
        "auto",
        choices=("auto", "float32", "float16", "bfloat16"),
        help="Numbers that the model computes with; auto: float32 on a CPU, as stored elsewhere.",
    )
    trust_remote_code: bool = option(False, help=SETTINGS["trust_remote_code"].help)
    device: str = option("auto", choices=DEVICES, help=DEVICE_HELP)
    batch_size: int = option(8, low=1, high=4096, help="Prompts in every call of the model.")


@dataclass(frozen=True, kw_only=True)
class OpenAIRewriteOptions(RewriteOptions):
    """By a server with OpenAI's chat completions API."""

    base_url: str = option(help="Address of the API, such as http://127.0.0.1:8000/v1.")
    key_variable: str | None = option(
        None, help="The environment variable that holds the key, such as OPENAI_API_KEY; null: none is sent."
    )
    parameters: Sequence[str] = option(
        ("temperature", "top_p", "max_tokens", "seed"),
        help="Which of temperature, top_p, max_tokens, max_completion_tokens and seed the server takes; seeds are "
        "passed on, and what they promise is the server's affair.",
    )
    concurrency: int = option(8, low=1, high=1024, help="Prompts that are asked about at once.")
    timeout_s: float = option(120.0, low=1, high=86_400, help="Seconds to wait for an answer.")
    max_attempts: int = option(
        6, low=1, high=100, help="Tries at an answer while the server is busy, failing or silent."
    )


REWRITES: Mapping[str, Any] = {
    "transformers": TransformersRewriteOptions,
    "openai": OpenAIRewriteOptions,
}


# Measuring ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Expectation:
    """Between which values a figure must lie in every cell."""

    figure: str = option(help="Its name, such as inception_v3.fid.")
    lowest: float = option(-math.inf, help="The smallest value that passes.")
    highest: float = option(math.inf, help="The largest value that passes.")

    def __post_init__(self) -> None:
        check_options(self, "expect.")


@dataclass(frozen=True)
class PolicyRule:
    """What becomes of images by one of their scores: of those above or below a threshold; or, of several, the best."""

    figure: str | None = option(None, help="The score of single images that decides, such as nsfw.score.")
    above: float | None = option(None, help="Images with a higher score are refused.")
    below: float | None = option(None, help="Images with a lower score are refused.")
    then: str | None = option(
        None,
        choices=(KEEP, DROP, REGENERATE),
        help="What becomes of a refused image: keep it and say so, drop it, which leaves a record without an image, or "
        "regenerate it with the next sample index.",
    )
    attempts: int | None = option(
        None, low=2, high=1000, help=f"Of regenerate: images made for one, at most; null: {USUAL_ATTEMPTS}."
    )
    otherwise: str | None = option(
        None,
        choices=(DROP, KEEP),
        help="Of regenerate, once all are refused: drop, or keep the one that came nearest; null: drop.",
    )
    by: str | None = option(
        None, help="In the place of figure: the score by which the best images are kept, such as clip_score."
    )
    keep: int | None = option(None, low=1, high=1000, help="Of by: so many images ...; null: 1.")
    of: int | None = option(None, low=2, high=1000, help="Of by: ... of so many samples.")

    def __post_init__(self) -> None:
        check_options(self, "policy.")
        if self.by is not None:
            self._refuse(("figure", "above", "below", "then", "attempts", "otherwise"), "by")
            self._check_best()
        elif self.figure is None:
            raise DarkroomError(f"policy: an entry without figure and by; give {_POLICY_FORMS}")
        else:
            self._refuse(("keep", "of"), "figure")
            self._check_rule()

    @property
    def given(self) -> dict[str, Any]:
        """What is said, by name."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}

    def _refuse(self, names: Sequence[str], kind: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise DarkroomError(f"policy.{name}={getattr(self, name)}: is not of an entry with {kind}; give "
                                    f"{_POLICY_FORMS}")  # fmt: skip

    def _check_best(self) -> None:
        if self.of is None:
            raise DarkroomError(f"policy: {self.by} keeps the best, and of is missing: of how many; give of=4, say")
        if (self.keep or 1) >= self.of:
            raise DarkroomError(f"policy: keep={self.keep or 1} of {self.of} leaves nothing to choose; give more as of")

    def _check_rule(self) -> None:
        if (self.above is None) == (self.below is None):
            what = "a threshold without a direction" if self.above is None else "above and below"
            raise DarkroomError(f"policy: {self.figure} has {what}; give one of above=... and below=...")
        threshold = self.above if self.above is not None else self.below
        if threshold is not None and not math.isfinite(threshold):
            raise DarkroomError(f"policy: {self.figure}: a threshold of {threshold}; give a number")
        if self.then is None:
            raise DarkroomError(f"policy: {self.figure} says not what then; give then=keep, drop or regenerate")
        for name in ("attempts", "otherwise"):
            if self.then != REGENERATE and getattr(self, name) is not None:
                raise DarkroomError(f"policy.{name}={getattr(self, name)}: is of then=regenerate; leave it out")


_POLICY_FORMS = "{figure: ..., above: ..., then: keep, drop or regenerate} or {keep: 1, of: 4, by: ...}"


@dataclass(frozen=True)
class EvaluationOptions:
    """What is measured, against what."""

    reference: str | Sequence[str] | Mapping[str, str] | None = option(
        None, is_place=True, is_several=True, help=_REFERENCE_HELP
    )
    reference_endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    extractors: Sequence[str | Mapping[str, Any]] = option(
        ("demo_clip",),
        help="What turns images into features: names such as demo_clip, clip, dinov2 and inception_v3, module:function "
        "of one's own, or {name: ..., source: ...}.",
    )
    metrics: Sequence[str] | None = option(
        None,
        help="Names such as clip.kid, or kid of all extractors that have it; null: those that the extractors are made "
        "for.",
    )
    by: Sequence[str] | None = option(
        None,
        help="Columns of the prompts, such as category: figures that are means of images' scores are told by their "
        "values too; null: by none.",
    )
    clip_convention: str = option("hessel", help=_CONVENTION_HELP)
    mind_num_projections: int = option(1000, low=1, high=1_000_000, help=_PROJECTIONS_HELP)
    seed: int = option(0, **SEEDS, help=_STATISTICS_SEED_HELP)
    expect: Sequence[Expectation] = option(
        (),
        help="Figures with the range that each must lie in, such as {figure: inception_v3.fid, highest: 24}; exit "
        "code 1 where one does not.",
    )

    def __post_init__(self) -> None:
        check_options(self, "evaluation.")


@dataclass(frozen=True)
class ComparisonOptions:
    """What two runs are compared by."""

    metrics: Sequence[str] | None = option(
        None, help="Names such as demo_clip.clip_score; null: all of the extractors that have intervals."
    )
    extractors: Sequence[str | Mapping[str, Any]] | None = option(
        None, help="As in evaluate; null: those that the metrics name."
    )
    reference: str | Sequence[str] | Mapping[str, str] | None = option(
        None, is_place=True, is_several=True, help=_REFERENCE_HELP
    )
    reference_endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    clip_convention: str = option("hessel", help=_CONVENTION_HELP)
    mind_num_projections: int = option(1000, low=1, high=1_000_000, help=_PROJECTIONS_HELP)
    tolerance: float = option(0.0, low=0, high=1e12, help="By how much b may be worse, in each metric's own unit.")
    seed: int = option(0, **SEEDS, help=_STATISTICS_SEED_HELP)

    def __post_init__(self) -> None:
        check_options(self, "")


@dataclass(frozen=True)
class GridImageOptions:
    """The labelled picture of all of a sweep's cells that a report holds."""

    columns: str | None = option(
        None, help="The axis that lies across, such as scheduler; the others lie down. null: the first one."
    )
    num_prompts: int = option(1, low=1, high=100, help="Prompts, one below the other, of those that the page shows.")

    def __post_init__(self) -> None:
        check_options(self, "grid.")


@dataclass(frozen=True)
class RatingOptions:
    """What people are asked on a page of blind pairs; votes that are read back need its `others` and `seed` alone."""

    cells: Sequence[str] | None = option(
        None, help="Cells of the run to show, by their cell_id; null: all but those that were dropped early."
    )
    others: Sequence[str] = option(
        (), help="More runs whose cells are shown beside, each as its address, or as run#cell_id for one cell of it."
    )
    num_pairs: int = option(200, low=1, high=MANY, help="Pairs of images, at most; each shows two cells of a prompt.")
    num_repeats: int = option(
        10,
        low=0,
        high=MANY,
        help="Pairs that come again with their sides changed, at most half of all, to see how steady a rater is.",
    )
    question: str = option("Which image do you prefer?", help="What raters are asked.")
    image_format: str = option(
        "png", choices=("png", "webp", "jpeg"), help="How the page's images are encoded; png loses nothing."
    )
    seed: int = option(0, **SEEDS, help="What pairs, their order and their sides are drawn from, and resamples.")

    def __post_init__(self) -> None:
        check_options(self, "")
        if not self.question.strip():
            raise DarkroomError("question is empty; say what raters decide, or leave it out")

    def check_of_votes(self) -> None:
        """Raises DarkroomError for what is given beside votes, and is of a page."""
        for each in fields(self):
            value = getattr(self, each.name)
            if each.name not in ("others", "seed") and value != each.default:
                raise DarkroomError(
                    f"{each.name}={value}: is of the page, and votes are read back; leave one of them out"
                )


@dataclass(frozen=True)
class CopiesOptions:
    """Where copies are looked for, and what counts as one."""

    reference: str = option(
        is_place=True,
        help="What copies may be of, such as training images: images as in evaluate, and no .npz.",
    )
    reference_endpoint_url: str | None = option(None, help=ENDPOINT_HELP)
    extractors: Sequence[str | Mapping[str, Any]] = option(
        ("demo_clip",), help="In whose spaces images are compared, as in evaluate, such as clip or dinov2."
    )
    cosine: float = option(
        0.95, low=-1, high=1, help="From which on an image counts as a copy of its nearest reference image."
    )
    num_pairs: int = option(24, low=1, high=1000, help="Nearest pairs that are listed and shown, at most.")
    seed: int = option(0, **SEEDS, help=_STATISTICS_SEED_HELP)

    def __post_init__(self) -> None:
        check_options(self, "")


@dataclass(frozen=True)
class ExportOptions:
    """What of a run is handed over as a dataset, and as what."""

    layout: str = option(
        "parquet",
        choices=("parquet", "webdataset", "imagefolder"),
        help="Parquet as `datasets` and the Hugging Face hub read it, WebDataset tars, or folders of images with "
        "metadata.jsonl.",
    )
    others: Sequence[str] = option(
        (),
        is_place=True,
        help="More runs whose images are exported with the run's as one dataset, each as its address, or as "
        "run#cell_id for one cell of it; a column `run` says which an image is of.",
    )
    cells: Sequence[str] | None = option(
        None, help="Cells of the run to export, by their cell_id; null: all but those that were dropped early."
    )
    where: str | None = option(
        None,
        help="Images that hold this condition in SQL on the columns of records, on the prompts' own, and on stored "
        'scores of single images, such as "guidance_scale > 3 and demo_clip.clip_score > 0.7"; null: all that are ok.',
    )
    scores: Sequence[str] = option(
        (), help="Stored scores of single images that become columns, such as [demo_clip.clip_score]."
    )
    splits: Mapping[str, Any] | None = option(
        None,
        is_mapping=True,
        help="Splits with their shares, such as {train: 0.9, validation: 0.1}; a digest of the prompt decides, so that "
        "all images of one are in one split. null: all in train.",
    )
    shard_size: int | str = option(
        AUTO,
        low=1,
        high=MANY,
        words=(AUTO,),
        help="Images in a shard, at most; all shards of a split have equally many, give or take one. auto: what makes "
        "some 256 MiB, and 10,000 in a folder of images.",
    )
    image_format: str = option(
        "same",
        choices=("same", "png", "webp", "jpeg"),
        help="Images are encoded anew as this; same: they stay the files that they are.",
    )
    quality: int | None = option(
        None, low=1, high=100, help="Of webp and jpeg that are encoded anew; null: the run's own, or 95."
    )
    size: int | None = option(
        None, low=8, high=65_536, help="Larger images are made smaller, to so many pixels of their longer side."
    )
    dedup: str = option(
        "none",
        choices=("none", "pixels", "embedding"),
        help="Images that are left out as copies of earlier ones, and listed in duplicates.parquet: none; those of "
        "equal pixels; or those whose features have a cosine of at least `cosine`.",
    )
    cosine: float = option(0.95, low=0.01, high=1, help="From which on an image counts as a copy by embedding.")
    extractor: str | None = option(
        None,
        help="Whose stored features dedup=embedding compares, such as clip; null: the only one that the run was "
        "evaluated with.",
    )
    license: str | None = option(
        None, help="The license that the card names, by the hub's word for it, such as cc-by-4.0; null: none is named."
    )

    def __post_init__(self) -> None:
        check_options(self, "")
        if self.license is not None and not _LICENSE.fullmatch(self.license):
            raise DarkroomError(
                f"license={self.license}: no word for a license; give one as the hub has it, such as cc-by-4.0, mit or "
                "other"
            )
        if self.cells is not None and not self.cells:
            raise DarkroomError("cells=[] chooses none; name some, or leave it out for all")
        _ = self.shares
        self._check_idle()

    def _check_idle(self) -> None:
        """Raises DarkroomError for what does nothing beside the rest."""
        if self.quality is not None and self.image_format == "png":
            raise DarkroomError(f"quality={self.quality} is of webp and jpeg, and image_format is png; leave it out")
        if self.quality is not None and self.image_format == "same":
            raise DarkroomError(
                f"quality={self.quality} is of images that are encoded anew; give image_format=webp or jpeg, or leave "
                "it out"
            )
        for name, usual in (("cosine", ExportOptions.cosine), ("extractor", None)):
            if self.dedup != "embedding" and (value := getattr(self, name)) != usual:
                raise DarkroomError(f"{name}={value} is of dedup=embedding; give that, or leave it out")

    @property
    def shares(self) -> dict[str, float] | None:
        """`splits` as numbers."""
        if self.splits is None:
            return None
        found = {str(name): as_number(as_builtin(share), float) for name, share in self.splits.items()}
        shares = {name: share for name, share in found.items() if share is not None and 0 < share <= 1}
        for name in found:
            if name not in shares:
                raise DarkroomError(
                    f"splits: {name}={self.splits[name]}; give a share above 0 and at most 1, such as {{{name}: 0.1}}"
                )
            if name.lower() == "all":
                raise DarkroomError(f"splits: {name!r} means all splits to who reads them; give another name")
            if not _SPLIT.fullmatch(name):
                raise DarkroomError(f"splits: {name!r} is no name of a split; give letters, digits and underscores")
        if not math.isclose(sum(shares.values()), 1, abs_tol=1e-9):
            total = f"{sum(shares.values()):.10g}"
            raise DarkroomError(f"splits={shares}: the shares sum to {total}; give such that sum to 1")
        return shares

    @property
    def images_a_shard(self) -> int | None:
        """None for `auto`."""
        return self.shard_size if isinstance(self.shard_size, int) else None

    @property
    def given(self) -> dict[str, Any]:
        """The layout, and what else is not as it is by default, by name."""
        found = {each.name: getattr(self, each.name) for each in fields(self)}
        usual: dict[str, tuple[Any, ...]] = {
            each.name: (each.default, []) for each in fields(self) if each.name != "layout"
        }
        return {name: value for name, value in found.items() if value not in usual.get(name, ())}


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


@dataclass(frozen=True)
class HalvingOptions:
    """Successive halving over a sweep's cells."""

    figure: str = option(help="The figure that cells are dropped by, such as demo_clip.clip_score; null: none.")
    num_images: int = option(
        64, low=2, high=MANY, help="Images of each cell in the first round; there are twice as many in the next."
    )
    keep: float = option(0.5, low=0, high=1, help="Share of the cells that go on after a round.")

    def __post_init__(self) -> None:
        check_options(self, "halving.")
