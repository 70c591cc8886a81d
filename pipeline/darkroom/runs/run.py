"""A run's description, `run.json`: written at its start, compared ever after, so that one folder holds one dataset.

It holds what fixes a run's images and their places, and nothing of how the run is executed.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from darkroom.domain.errors import DarkroomError, first_line
from darkroom.domain.policy import NO_POLICY, Best, Policy, PolicyFigure, Rule
from darkroom.runs.files import RUN_KEY, from_json, to_json
from darkroom.runs.videos import CODECS
from darkroom.storage.named_files import NamedPlace
from darkroom.storage.store import NotFound, Store

FINGERPRINT = "the prompt dataset's fingerprint"
_METADATA = "darkroom.run"
_POLICY = "policy"
_SAME_PROMPTS = ("kind", "uri")  # settings by which two commands name one file or pattern


@dataclass(frozen=True)
class PromptsInfo:
    """A prompt dataset that a run was started with, or grown to."""

    name: str  # uri, or what made it; for people
    fingerprint: str
    num_rows: int
    settings: Mapping[str, object] = field(default_factory=dict)  # of the command that named it
    rows: str = ""  # digest of what its rows say, in order; empty: older than this field
    images_uri: str = ""  # where the pictures lay that its rows name; empty: none is, or by addresses alone
    images_endpoint_url: str | None = None  # of the object stores that they lay in
    order: str = ""  # digest of the order in which the run has its rows, where it is another one: see `files.order_key`


@dataclass(frozen=True)
class RowPart:
    """Rows that a run began with, or that it was grown by: they are shards of their own."""

    start: int  # of its first shard: a multiple of the run's shard_size, at or past the end of the part before
    first_row: int  # of the run's rows, joined
    num_rows: int
    fingerprint: str  # of the dataset that brought them

    @property
    def stop(self) -> int:
        return self.start + self.num_rows


@dataclass(frozen=True)
class OutputInfo:
    """How images are laid out and encoded."""

    layout: str  # files, webdataset or parquet
    image_format: str  # png, webp or jpeg; of videos mp4, webm, webp, gif or zip
    quality: int  # of webp and jpeg, 1 to 100; of mp4 and webm the crf; 0 for a format that has none
    provenance: bool | None = None  # whether files say that a model made them; None: older than this field, and none do
    trajectory_prompts: int | None = None  # of so many, the first, whose first image has a trajectory; None: none has
    trajectory_steps: tuple[int, ...] | list[int] | None = None  # from 1; None: spread over those of each image
    overlay: str = ""  # text that is drawn on images: JSON, see `overlays.OverlaySettings`; empty: none
    watermark: str = ""  # letters of the invisible mark in images' pixels; empty: none
    c2pa: bool = False  # whether each image has a signed manifest
    video: bool = False  # whether they are videos
    own_columns: bool | None = None  # whether tars and Parquet files hold `own_columns`; None: of a run that is older
    # than this field, or whose images are objects of their own

    def __post_init__(self) -> None:
        if self.trajectory_steps is not None:
            object.__setattr__(self, "trajectory_steps", tuple(self.trajectory_steps))

    @property
    def encoding(self) -> dict[str, object]:
        """How files are encoded, by the names of the options that say so."""
        if not self.video:
            return {"image_format": self.image_format, "quality": self.quality}
        return {"video_format": self.image_format, "crf" if self.image_format in CODECS else "quality": self.quality}

    @property
    def trajectory(self) -> str:
        """In words."""
        if not self.trajectory_prompts:
            return "none"
        steps = f"steps {', '.join(map(str, self.trajectory_steps))}" if self.trajectory_steps else "a spread of steps"
        return f"of {self.trajectory_prompts} prompts at {steps}"


@dataclass(frozen=True)
class RunInfo:
    """What all cells of a run share. With its cells, everything that images and their places are a function of."""

    prompts: PromptsInfo
    output: OutputInfo
    seed: int
    num_images_per_prompt: int
    shard_size: int  # prompt rows a shard; the first start of a run decides
    batch_size: int | None = None  # what `auto` means, once it is settled, ever after
    cell_id: str | None = None  # of the one cell that `generate` began with; "": a sweep; None: older than this field
    version: str = ""  # of Darkroom, that began it; empty: older than this field, and than defaults of the model's own
    compile: bool | None = None  # what `auto` meant when it began, ever after; None: older than this field
    policy: Policy | None = None  # what becomes of images by their scores; None: none is looked at
    earlier_prompts: tuple[PromptsInfo, ...] = ()  # what `prompts` was before each time that the run was grown

    @property
    def first_prompts(self) -> PromptsInfo:
        """Those that it began with, which are part of what never changes."""
        return (*self.earlier_prompts, self.prompts)[0]

    @property
    def pictures(self) -> NamedPlace:
        """Where the pictures lay that its images are made from."""
        return NamedPlace(self.prompts.images_uri, self.prompts.images_endpoint_url)

    @property
    def parts(self) -> tuple[RowPart, ...]:
        """Its rows, in the order in which they were given."""
        found: list[RowPart] = []
        start = num_rows = 0
        for each in (*self.earlier_prompts, self.prompts):
            found.append(RowPart(start, num_rows, each.num_rows - num_rows, each.fingerprint))
            num_rows = each.num_rows
            start = -(-found[-1].stop // self.shard_size) * self.shard_size
        return tuple(found)

    @property
    def first_rows(self) -> list[int]:
        """Where the shards of a cell start."""
        return [start for part in self.parts for start in range(part.start, part.stop, self.shard_size)]

    @property
    def num_shards(self) -> int:
        """Of a cell."""
        return sum(-(-part.num_rows // self.shard_size) for part in self.parts)


def create_or_check(store: Store, wanted: RunInfo) -> RunInfo:
    """The run at this store: a new one as wanted, or the one that is there, if it is the same.

    Raises DarkroomError that names the field when a run of something else is there.
    """
    if store.put_if_absent(RUN_KEY, to_json(asdict(wanted)), "application/json"):
        return wanted
    found = open_run(store)
    check_same(store, found, wanted)
    return found


def settle_batch_size(store: Store, number: int) -> RunInfo:
    """The run with its number of images a batch: this one, or that of another start which was first.

    But for growth, the one thing of a run that is written after its start, and once: by compare-and-swap.
    """
    while True:
        before = store.get(RUN_KEY)
        found = _read(store, before)
        if found.batch_size is not None:
            return found
        store.replace(RUN_KEY, to_json(asdict(replace(found, batch_size=number))), before, "application/json")


def grow(store: Store, found: RunInfo, prompts: PromptsInfo) -> RunInfo:
    """The run with these prompts, which hold all rows that it had and more.

    Raises DarkroomError where it is no longer as it was `found`: of two that grow it at once, one is first.
    """
    before = store.get(RUN_KEY)
    now = _read(store, before)
    wanted = replace(now, prompts=prompts, earlier_prompts=(*now.earlier_prompts, now.prompts))
    is_as_found = now.prompts == found.prompts and now.earlier_prompts == found.earlier_prompts
    if is_as_found and store.replace(RUN_KEY, to_json(asdict(wanted)), before, "application/json"):
        return wanted
    now = open_run(store)
    if now.prompts.fingerprint == prompts.fingerprint:
        return now
    raise DarkroomError(
        f"{store.describe(RUN_KEY)}: another command changed this run while its new rows were looked for; give the "
        "same command again"
    )


def find_run(store: Store) -> RunInfo | None:
    """The run that was started at this store; None where there is none."""
    try:
        return _read(store, store.get(RUN_KEY))
    except NotFound:
        return None


def open_run(store: Store) -> RunInfo:
    """The run that was started at this store. Raises DarkroomError where there is none."""
    found = find_run(store)
    if found is None:
        raise DarkroomError(f"{store.describe(RUN_KEY)}: no run here; name the folder that `darkroom generate` printed")
    return found


def _read(store: Store, data: bytes) -> RunInfo:
    try:
        return _parse(json.loads(data))
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise DarkroomError(
            f"{store.describe(RUN_KEY)}: not readable as a run's description ({first_line(error)}); "
            "restore it, or use another output.uri"
        ) from error


def check_same(store: Store, found: RunInfo, wanted: RunInfo) -> None:
    if found.earlier_prompts:
        wanted = _as_grown(store, found, wanted)
    differing = list(differences(found, wanted))
    if found.prompts.fingerprint != wanted.prompts.fingerprint:
        differing = [*_prompt_settings(found.prompts, wanted.prompts), *differing]
    for name, there, here in differing:
        same = "go on with the run's own value"
        if name.startswith("the prompt dataset"):
            same = (
                f"give the prompts that it was started with ({found.prompts.name}), unchanged and in the same form, "
                "or with rows added and prompts.grow=true"
            )
        raise DarkroomError(
            f"{store.describe(RUN_KEY)}: {name} is {there!r} in this run and {here!r} in the command; {same}, or use "
            "another output.uri"
        )


def _as_grown(store: Store, found: RunInfo, wanted: RunInfo) -> RunInfo:
    """Wanted with all prompts that the run had. Raises DarkroomError where it is of others than it was grown to."""
    prompts = found.prompts
    if wanted.prompts.fingerprint != prompts.fingerprint:
        raise DarkroomError(
            f"{store.describe(RUN_KEY)}: this run was grown to {prompts.num_rows:,} rows ({prompts.name}), and the "
            f"command's prompts are others ({wanted.prompts.num_rows:,} rows of {wanted.prompts.name}); give the "
            "former, give all of their rows and more with prompts.grow=true, or use another output.uri"
        )
    return replace(wanted, prompts=prompts, earlier_prompts=found.earlier_prompts)


def _prompt_settings(found: PromptsInfo, wanted: PromptsInfo) -> Iterator[tuple[str, object, object]]:
    """What was said of the same prompts otherwise, such as which rows are chosen; nothing where a run is older."""
    there, here = found.settings, wanted.settings
    if there and all(there.get(name) == here.get(name) for name in _SAME_PROMPTS):
        for name in dict.fromkeys([*there, *here]):
            if name != "on_invalid" and there.get(name) != here.get(name):
                yield f"prompts.{name}", there.get(name), here.get(name)


def differences(found: RunInfo, wanted: RunInfo) -> Iterator[tuple[str, object, object]]:
    """(field, the run's value, the wanted value) of all that would make other images or put them elsewhere."""
    there, here = fixed(found), fixed(wanted)
    names = (name for name in {**there, **here} if there.get(name) != here.get(name))
    return ((name, there.get(name), here.get(name)) for name in names)


def fixed(run: RunInfo) -> dict[str, object]:
    """What a run cannot change, by the names that the user knows. Its own shard_size, batch_size and
    compile stay."""
    named = ("trajectory_prompts", "trajectory_steps", "image_format", "quality", "video")  # otherwise
    files = {name: value for name, value in asdict(run.output).items() if name not in named}
    files = {"layout": files.pop("layout"), **run.output.encoding, **files}
    return {
        FINGERPRINT: run.first_prompts.fingerprint,
        "the prompt dataset's number of rows": run.first_prompts.num_rows,
        "sampling.seed": run.seed,
        "sampling.num_images_per_prompt": run.num_images_per_prompt,
        **{f"output.{name}": value for name, value in files.items() if value is not None},
        "output.trajectory": run.output.trajectory,
        _POLICY: NO_POLICY if run.policy is None else run.policy.identity,
    }


def to_metadata(run: RunInfo) -> dict[str, str]:
    """What every manifest says of its run."""
    return {_METADATA: json.dumps(fixed(run), ensure_ascii=False)}


def from_metadata(metadata: Mapping[str, str]) -> dict[str, object]:
    """What `fixed` was when a manifest was committed; empty for an older manifest, and for one that does not say it."""
    try:
        said = dict(json.loads(metadata.get(_METADATA, "{}")))
    except (ValueError, TypeError):
        return {}
    return {_POLICY: NO_POLICY, **said} if said else {}  # older ones had none


def _parse(value: dict[str, Any]) -> RunInfo:
    info = RunInfo(
        prompts=from_json(PromptsInfo, value["prompts"]),
        output=from_json(OutputInfo, value["output"]),
        seed=int(value["seed"]),
        num_images_per_prompt=int(value["num_images_per_prompt"]),
        shard_size=int(value["shard_size"]),
        batch_size=int(value["batch_size"]) if value.get("batch_size") else None,
        cell_id=str(value["cell_id"]) if value.get("cell_id") is not None else None,
        version=str(value.get("version", "")),
        compile=None if value.get("compile") is None else bool(value["compile"]),
        policy=_policy(value.get("policy")),
        earlier_prompts=tuple(from_json(PromptsInfo, each) for each in value.get("earlier_prompts", ())),
    )
    if min(info.shard_size, info.num_images_per_prompt, *(part.num_rows for part in info.parts)) < 1:
        raise ValueError("a count is below 1")
    return info


def _policy(value: Mapping[str, Any] | None) -> Policy | None:
    if value is None:
        return None
    rules = tuple(from_json(Rule, each) for each in value["rules"])
    best = None if value["best"] is None else from_json(Best, value["best"])
    figures = tuple(from_json(PolicyFigure, each) for each in value["figures"])
    found = Policy(rules, best, figures, tuple(map(str, value["extractors"])))
    named = {figure.name for figure in figures}
    if not {*(rule.figure for rule in rules), *([best.by] if best else [])} <= named:
        raise ValueError("its policy asks for a score that none of its extractors has")
    return found
