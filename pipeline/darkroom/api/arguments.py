"""The arguments of calls, in every shape that a caller has them, as typed values: prompts, models, engines, options."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, TypeVar

import pyarrow as pa

from darkroom.api.annotations import Count, checks_arguments, options_of
from darkroom.api.evaluation_options import EvaluationOptions, PolicyRule
from darkroom.api.options import EngineOptions, ReadingOptions, RowOptions
from darkroom.api.run_prompts import run_prompts
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import from_anywhere
from darkroom.domain.setting_values import as_builtin
from darkroom.domain.settings import SETTINGS, ModelRef
from darkroom.domain.source_code import is_function_name
from darkroom.prompts.dataset import PromptDataset, PromptScan, with_rows
from darkroom.prompts.formats import check_reading, open_as
from darkroom.prompts.opening import mixed_prompts, open_prompts, template_prompts
from darkroom.prompts.reading import RUN, Reading
from darkroom.prompts.selection import Selection
from darkroom.prompts.standard_input import STANDARD_INPUT, kept_input
from darkroom.runs.commands import presets
from darkroom.runs.run import PromptsInfo

DEMO, MEMORY = "demo", "memory"
OnInvalid = Literal["fail", "record"]
Engine = Literal["local", "ray"] | EngineOptions | Mapping[str, Any]
Evaluate = bool | EvaluationOptions | Mapping[str, Any] | None
Policy = Sequence[PolicyRule | Mapping[str, Any]]
Call = TypeVar("Call", bound=Callable[..., Any])


@dataclass(frozen=True)
class Prompts:
    """A dataset that is not read yet, and what a run says of it."""

    kind: str  # demo, file, template or memory
    name: str  # for people
    dataset: PromptDataset
    settings: Mapping[str, object] = field(default_factory=dict)  # of the command that would name it again
    grow: bool = False  # whether a run of some of these rows is grown by the others
    pictures: str = ""  # where names of rows' pictures begin; empty: in the folder of the prompts
    kept: Path | None = None  # the file of what can be read once, which a run keeps

    def info(self, scan: PromptScan) -> PromptsInfo:
        return PromptsInfo(self.name, scan.fingerprint, scan.num_rows, self.settings, scan.rows)


def prompts_of(
    source: Any,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    endpoint_url: str | None = None,
    preset: str | None = None,
    allow_remote: bool = False,
) -> Prompts:
    """Prompts as they were given: "demo", a path, glob or s3:// address, or a list of Paths; a list of texts or of
    dicts, an iterator of such, a pandas DataFrame or an Arrow table; or Prompts that `template` made. `preset`: the
    benchmark that a file is; `allow_remote`: whether an address of the web may be fetched."""
    if isinstance(source, Prompts):
        _check_unused(on_invalid, columns, endpoint_url, preset, "prompts that are made already")
        return source
    if isinstance(source, str) and source == DEMO:
        _check_unused(on_invalid, columns, endpoint_url, preset, "the demo's prompts")
        return demo()
    if isinstance(source, str | PathLike):
        return files(os.fsdecode(source), on_invalid, columns, endpoint_url, preset, allow_remote)
    if isinstance(source, list | tuple) and source and all(isinstance(each, PathLike) for each in source):
        uris = [os.fsdecode(each) for each in source]
        return files(uris, on_invalid, columns, endpoint_url, preset, allow_remote)
    if preset is not None:
        raise DarkroomError(f"preset={preset}: is for prompt files, and these prompts are in memory")
    if endpoint_url is not None:
        raise DarkroomError("prompts_endpoint_url: is for prompt files on S3, and these prompts are in memory")
    settings: dict[str, object] = {"kind": MEMORY, "on_invalid": on_invalid}
    settings |= {"columns": given} if (given := _renamed(columns)) else {}
    return Prompts(MEMORY, MEMORY, open_prompts(source, on_invalid, None, columns, MEMORY), settings)


def _renamed(columns: Mapping[str, str | None] | None) -> dict[str, str | None]:
    """Without those that are read from the column of their own name, as they are unless somebody says otherwise."""
    return {name: column for name, column in (columns or {}).items() if column != name}


def _check_unused(
    on_invalid: str,
    columns: Mapping[str, str | None] | None,
    endpoint_url: str | None,
    preset: str | None,
    what: str,
) -> None:
    """Refuse what says how prompts are read, where they are not read by it."""
    given = {
        "on_invalid": on_invalid != "fail",
        "columns": bool(columns),
        "prompts_endpoint_url": endpoint_url is not None,
        "preset": preset is not None,
    }
    for name, is_given in given.items():
        if is_given:
            raise DarkroomError(f"{name}: is for prompts of files or in memory, and these are {what}; leave it out")


def demo() -> Prompts:
    """Captions of the embedded world."""
    from darkroom.demo.world import demo_prompts

    table = pa.Table.from_pylist(demo_prompts())
    return Prompts(DEMO, DEMO, open_prompts(table, name=DEMO), {"kind": DEMO})


def files(
    uri: str | Sequence[str],
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    endpoint_url: str | None = None,
    preset: str | None = None,
    allow_remote: bool = False,
    reading: ReadingOptions | None = None,
) -> Prompts:
    """`columns`: which column a setting is read from, where it is not called so; None: from none."""
    read_as = Reading(**{**vars(reading), "ignored": tuple(reading.ignored)}) if reading else Reading()
    given = _renamed(columns)
    uris = [uri] if isinstance(uri, str) else list(uri)
    if isinstance(uri, Mapping) or not uris or not all(isinstance(each, str) for each in uris):
        raise DarkroomError(f"prompts.uri={uri}: give an address, or a list of addresses such as [a.parquet,b.txt]")
    if STANDARD_INPUT in uris and len(uris) > 1:
        raise DarkroomError("prompts.uri: - is standard input, and is read alone; put it into a file and name that")
    kept = kept_input() if uris == [STANDARD_INPUT] else None
    places = [from_anywhere(each) for each in uris]
    settings: dict[str, object] = {
        "kind": "file",
        "uri": places[0] if len(uris) == 1 else places,
        "on_invalid": on_invalid,
    }
    settings |= {"endpoint_url": endpoint_url} if endpoint_url is not None else {}
    settings |= {"columns": given} if given else {}
    settings |= {"preset": preset} if preset is not None else {}
    settings |= {"allow_remote": True} if allow_remote else {}
    if read_as.said:
        if len(uris) > 1 or kept or preset is not None or allow_remote:
            raise DarkroomError(
                f"prompts.format={read_as.format}: it is of one file, folder, glob or s3:// address; leave out preset "
                "and allow_remote, and put what comes from standard input or the web into a file"
            )
        said_of_format = read_as.said | ({"wildcards": from_anywhere(read_as.wildcards)} if read_as.wildcards else {})
        if read_as.format == RUN:
            check_reading(read_as)
            dataset, place = run_prompts(uris[0], on_invalid, endpoint_url, columns)
            return Prompts("file", uris[0], dataset, settings | said_of_format, pictures=place)
        dataset = open_as(uris[0], read_as, on_invalid, endpoint_url, columns)
        return Prompts("file", uris[0], dataset, settings | said_of_format)
    said: dict[str, Any] = {"on_invalid": on_invalid, "endpoint_url": endpoint_url, "columns": given}
    said |= {"preset": preset, "allow_remote": allow_remote}
    dataset = mixed_prompts(uris, **said) if len(uris) > 1 else open_prompts(kept or uris[0], **said)
    return Prompts("file", "standard input" if kept else ", ".join(uris), dataset, settings, kept=kept)


@checks_arguments
def from_files(
    uri: str | PathLike[str],
    format: Literal["auto", "a1111", "openai_batch", "images", "run"] = "auto",
    *,
    wildcards: str | PathLike[str] | None = None,
    num_draws: Count = 1,
    draw_seed: int = 0,
    ignored: Sequence[str] = (),
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
) -> Prompts:
    """Prompts of files in another tool's format, for `generate`, `sweep`, `plan` and `select`.

    format: "a1111" (lines with flags of AUTOMATIC1111's script, {a|b} and __wildcards__), "openai_batch" (requests of
        OpenAI's Batch API), "images" (image files, by the settings in them), "run" (a run, or run#cell_id: its images
        are the pictures that others are made from); "auto": as `generate` reads files.
    columns: {"scheduler": None} leaves the images' own schedulers unread.

        darkroom.generate(darkroom.from_files("photos/", "images"), model="sdxl")
    """
    folder = None if wildcards is None else os.fsdecode(wildcards)
    reading = ReadingOptions(format, folder, num_draws, draw_seed, tuple(ignored))
    return files(os.fsdecode(uri), on_invalid, columns, prompts_endpoint_url, reading=reading)


@checks_arguments
def template(
    pattern: str,
    slots: Mapping[str, Any],
    mode: Literal["product", "random"] = "product",
    num_prompts: Count | None = None,
    seed: int = 0,
    indexed: bool = False,
) -> Prompts:
    """Prompts of a pattern such as "a {colour} circle": every combination of its slots' values, or random ones.

    A slot is a list of texts, or of {"value": ..., "weight": ..., "when": {slot: value}}; {"from": 1, "to": 10},
    {"uniform": [0, 1]} or {"file": ...}. indexed: rows have ids by their numbers, and none is read to check them.
    """
    return combinations(
        pattern=pattern,
        slots={name: as_builtin(given) for name, given in slots.items()},
        mode=mode,
        num_prompts=num_prompts,
        seed=seed,
        **({"indexed": True} if indexed else {}),
    )


def combinations(**given: Any) -> Prompts:
    """As `template`, of values that are checked."""
    settings = {"kind": "template", **{name: value for name, value in given.items() if value is not None}}
    return Prompts("template", given["pattern"], template_prompts(**given), settings)


@checks_arguments
def select(
    prompts: Any,
    *,
    where: str | None = None,
    sample: Count | None = None,
    shuffle: bool = False,
    limit: Count | None = None,
    row_seed: int = 0,
    weights: Sequence[float] = (),
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
    preset: str | None = None,
    allow_remote: bool = False,
) -> Prompts:
    """Some rows of prompts, for `generate`, `sweep` and `plan`: those that hold a condition in SQL, of these so many at
    random, shuffled, the first ones.

        darkroom.select("photos.parquet", where="aesthetic > 5 and lang = 'en'", sample=1000)

    weights: of each of several files, prompts=[Path("a.parquet"), Path("b.txt")]: the shares that are drawn of them.
    preset: which benchmark or table a file is, such as "parti" or "laion".
    allow_remote: whether https:// and hf://datasets/ addresses may be fetched.
    """
    source = prompts_of(prompts, on_invalid, columns, prompts_endpoint_url, preset, allow_remote)
    return chosen(source, RowOptions(where, sample, shuffle, limit, row_seed, weights))


def chosen(prompts: Prompts, rows: RowOptions) -> Prompts:
    """The prompts with some of their rows. Raises DarkroomError for no condition, or rows chosen already."""
    selection = Selection(**{**vars(rows), "weights": tuple(rows.weights)})
    if selection.said.keys() and any(name in prompts.settings for name in vars(rows)):
        raise DarkroomError("prompts: rows are chosen already; give all conditions in one select(...)")
    settings = {**prompts.settings, **selection.said}
    return replace(prompts, dataset=with_rows(prompts.dataset, selection), settings=settings)


# Model, engine, evaluation ------------------------------------------------------------------------------------------


def model_ref(model: str | Path | ModelRef) -> ModelRef:
    """A preset by its name, a renderer of one's own as my_module:make; else a hub id or a folder. A path is always a
    folder: Path("./demo") forgets its "./"."""
    if isinstance(model, ModelRef):
        return model
    if isinstance(model, PathLike):
        return ModelRef(str(Path(os.fsdecode(model)).absolute()))
    if is_function_name(str(model)):
        return ModelRef("", make=str(model))
    return presets().get(str(model), ModelRef(str(model)))


def engine_options(engine: Engine) -> EngineOptions:
    return EngineOptions(kind=engine) if isinstance(engine, str) else options_of(EngineOptions, engine, "engine")


def evaluation_options(evaluate: Evaluate) -> EvaluationOptions | None:
    if evaluate is None or evaluate is False:
        return None
    return EvaluationOptions() if evaluate is True else options_of(EvaluationOptions, evaluate, "evaluate")


def policy_rules(policy: Policy) -> tuple[PolicyRule, ...]:
    return tuple(options_of(PolicyRule, each, f"policy[{place}]") for place, each in enumerate(policy))


# Signatures ---------------------------------------------------------------------------------------------------------


def takes_settings(call: Call) -> Call:
    """Show the settings that `**settings` stands for, with their defaults, where a signature is asked for."""
    signature = inspect.signature(call)
    words = [each for each in signature.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    known = [
        inspect.Parameter(each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=each.kind)
        for each in SETTINGS.values()
        if each.name != "repo_id"
    ]
    call.__signature__ = signature.replace(parameters=[*words, *known])  # type: ignore[attr-defined]
    return call
