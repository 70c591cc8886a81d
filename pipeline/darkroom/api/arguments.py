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
from darkroom.api.options import EngineOptions, EvaluationOptions, RowOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import from_anywhere
from darkroom.domain.settings import SETTINGS, ModelRef
from darkroom.domain.source_code import is_function_name
from darkroom.prompts.dataset import PromptDataset, PromptScan, with_rows
from darkroom.prompts.opening import open_prompts, template_prompts
from darkroom.prompts.selection import Selection
from darkroom.runs.commands import presets
from darkroom.runs.run import PromptsInfo

DEMO, MEMORY = "demo", "memory"
OnInvalid = Literal["fail", "record"]
Engine = Literal["local", "ray"] | EngineOptions | Mapping[str, Any]
Evaluate = bool | EvaluationOptions | Mapping[str, Any] | None
Call = TypeVar("Call", bound=Callable[..., Any])


@dataclass(frozen=True)
class Prompts:
    """A dataset that is not read yet, and what a run says of it."""

    kind: str  # demo, file, template or memory
    name: str  # for people
    dataset: PromptDataset
    settings: Mapping[str, object] = field(default_factory=dict)  # of the command that would name it again

    def info(self, scan: PromptScan) -> PromptsInfo:
        return PromptsInfo(self.name, scan.fingerprint, scan.num_rows, self.settings)


def prompts_of(
    source: Any,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    endpoint_url: str | None = None,
) -> Prompts:
    """Prompts as they were given: "demo", a path, glob or s3:// address; a list of texts or of dicts, an iterator of
    such, a pandas DataFrame or an Arrow table; or Prompts that `template` made."""
    if isinstance(source, Prompts):
        _check_unused(on_invalid, columns, endpoint_url, "prompts that are made already")
        return source
    if isinstance(source, str) and source == DEMO:
        _check_unused(on_invalid, columns, endpoint_url, "the demo's prompts")
        return demo()
    if isinstance(source, str | PathLike):
        return files(os.fsdecode(source), on_invalid, columns, endpoint_url)
    if endpoint_url is not None:
        raise DarkroomError("prompts_endpoint_url: is for prompt files on S3, and these prompts are in memory")
    settings: dict[str, object] = {"kind": MEMORY, "on_invalid": on_invalid}
    settings |= {"columns": given} if (given := _renamed(columns)) else {}
    return Prompts(MEMORY, MEMORY, open_prompts(source, on_invalid, None, columns, MEMORY), settings)


def _renamed(columns: Mapping[str, str | None] | None) -> dict[str, str | None]:
    """Without those that are read from the column of their own name, as they are unless somebody says otherwise."""
    return {name: column for name, column in (columns or {}).items() if column != name}


def _check_unused(
    on_invalid: str, columns: Mapping[str, str | None] | None, endpoint_url: str | None, what: str
) -> None:
    """Refuse what says how prompts are read, where they are not read by it."""
    given = {
        "on_invalid": on_invalid != "fail",
        "columns": bool(columns),
        "prompts_endpoint_url": endpoint_url is not None,
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
    uri: str,
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    endpoint_url: str | None = None,
) -> Prompts:
    """`columns`: which column a setting is read from, where it is not called so; None: from none."""
    given = _renamed(columns)
    settings: dict[str, object] = {"kind": "file", "uri": from_anywhere(uri), "on_invalid": on_invalid}
    settings |= {"endpoint_url": endpoint_url} if endpoint_url is not None else {}
    settings |= {"columns": given} if given else {}
    return Prompts("file", uri, open_prompts(uri, on_invalid, endpoint_url, columns), settings)


@checks_arguments
def template(
    pattern: str,
    slots: Mapping[str, Sequence[str]],
    mode: Literal["product", "random"] = "product",
    num_prompts: Count | None = None,
    seed: int = 0,
) -> Prompts:
    """Prompts of a pattern such as "a {colour} circle": every combination of its slots' values, or random ones."""
    return combinations(pattern=pattern, slots=slots, mode=mode, num_prompts=num_prompts, seed=seed)


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
    on_invalid: OnInvalid = "fail",
    columns: Mapping[str, str | None] | None = None,
    prompts_endpoint_url: str | None = None,
) -> Prompts:
    """Some rows of prompts, for `generate`, `sweep` and `plan`: those that hold a condition in SQL, of these so many at
    random, shuffled, the first ones.

        darkroom.select("photos.parquet", where="aesthetic > 5 and lang = 'en'", sample=1000)
    """
    source = prompts_of(prompts, on_invalid, columns, prompts_endpoint_url)
    return chosen(source, RowOptions(where, sample, shuffle, limit, row_seed))


def chosen(prompts: Prompts, rows: RowOptions) -> Prompts:
    """The prompts with some of their rows. Raises DarkroomError for no condition, or rows chosen already."""
    selection = Selection(**vars(rows))
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
