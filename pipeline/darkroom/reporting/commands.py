"""The commands that make a run, or one image of it, again; and the call, of a run whose prompts were in memory."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from darkroom.domain.settings import SETTINGS, UNTAKEN, ModelRef, settings_of
from darkroom.runs.cells import CellInfo, Choices
from darkroom.runs.commands import as_written, called_by_name, preset_of, word
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo
from darkroom.storage.store import StoreSpec

_USUAL = [("on_invalid", "fail"), ("mode", "product"), ("seed", 0)]  # of the prompts' settings: need no word
_HOW_READ = ("on_invalid", "columns")  # of prompts in memory; what else is said of them chooses rows
# Arguments of a call that are not called as the keys are, and those that are dicts.
_ARGUMENTS = {"output.uri": "out", "output.watermark.text": "watermark"}
_DICTS = {"grid.axes": "axes", "halving": "halving", "output.overlay": "overlay", "output.c2pa": "c2pa"}
_COMMIT = re.compile(r"[0-9a-f]{40}")

Settings = Mapping[str, object]
Given = dict[str, object]  # keys of the command line with their values


def verify_command(store: StoreSpec, image_id: str, words: Mapping[str, object] | None = None) -> str:
    """`words`: what no stored run decides of its model, from `words_of`."""
    return called_by_name("verify", store, image_id=image_id, **(words or {}))


def words_of(item: CellInfo) -> Given:
    """That a cell's model may run code of its own, or which renderer of one's own it is, at which place."""
    own = {"model.make": item.ref.make, **_if_any("model.options", _options(item.ref.options))} if item.ref.make else {}
    return {**_if_any("model.trust_remote_code", item.cell.model.trust_remote_code), **own}


def run_command(
    info: RunInfo,
    cells: Sequence[CellInfo],
    store: StoreSpec,
    batch_size: int | None,
    evaluations: Sequence[Settings] = (),
    choices: Choices = Choices(),  # noqa: B008 - frozen
) -> str:
    """Renders the run's cells: `generate` for one, `sweep` for more, and measures them.

    A line for each sweep that dropped cells early, with these, one for the other cells, and one for each evaluation but
    the last, which a sweep makes itself; also for each answer to trust_remote_code, which a sweep's cells share.

    cells: all, those that `choices` dropped too. batch_size: of the records; another one may move low bits.
    evaluations: their options, oldest first; empty where they are not known.
    """
    halvings = choices.halvings
    said = _call if info.prompts.settings.get("kind") == "memory" else _line
    known = [options for place, options in enumerate(evaluations) if options and options not in evaluations[:place]]
    inline = [halving.evaluation for halving in halvings] or known[-1:]
    by_id = {item.cell.cell_id: item for item in cells}
    done = {item.cell_id for item in choices.dropped}.union(*(halving.kept for halving in halvings))
    lines: list[tuple[str, Given]] = []
    for halving in halvings:
        among = [by_id[cell_id] for cell_id in halving.cell_ids if cell_id in by_id]
        choice = {f"halving.{name}": value for name, value in halving.options.items()}
        lines += _rendering(info, among, store, batch_size, halving.evaluation, choice)
    left = [item for cell_id, item in by_id.items() if cell_id not in done]
    lines += _rendering(info, left, store, batch_size, inline[-1] if inline else {}, {})
    sentences = [said(job, given) for job, given in lines]
    evaluating = _evaluate_call if said is _call else _evaluate_line
    return "\n".join([*sentences, *(evaluating(store, options) for options in known if options not in inline)])


def _rendering(
    info: RunInfo,
    cells: Sequence[CellInfo],
    store: StoreSpec,
    batch_size: int | None,
    evaluation: Settings,
    halving: Given,
) -> Iterator[tuple[str, Given]]:
    """(job, its keys), once for each answer to trust_remote_code."""
    for trusts in sorted({item.cell.model.trust_remote_code for item in cells}):
        settings = [_settings(item, info) for item in cells if item.cell.model.trust_remote_code is trusts]
        shared, grid = _shared(settings), _grid(settings, _of_run(info))
        yield (
            "sweep" if grid else "generate",
            {
                **_model(settings[0]["repo_id"], shared),
                **_if_any("model.trust_remote_code", trusts),
                **_prompts(info.prompts),
                **_sampling(shared, info),
                **grid,
                **_if_any("evaluate", "inline" if evaluation else None),
                **{f"evaluation.{name}": value for name, value in _looked_at(info, evaluation).items()},
                **(halving if grid else {}),
                **_if_any("policy", info.policy.entries if info.policy else []),
                **_output(info, store),
                "engine.shard_size": info.shard_size,
                **_if_any("engine.batch_size", batch_size),
            },
        )


def _looked_at(info: RunInfo, evaluation: Settings) -> Given:
    """What is measured inline, and by which extractors the run's policy decides."""
    if info.policy is None:
        return dict(evaluation)
    named, asked = list(evaluation.get("extractors") or []), info.policy.named_extractors  # type: ignore[call-overload]
    found: Given = {**evaluation, "extractors": [*named, *(each for each in asked if each not in named)]}
    scales = {figure.convention for figure in info.policy.figures if figure.convention}
    return found | ({"clip_convention": scales.pop()} if scales - {"hessel"} else {})


def _line(job: str, given: Given) -> str:
    """For a shell."""
    return " ".join(["darkroom", job, *(word(name, value) for name, value in given.items())])


def _evaluate_line(store: StoreSpec, options: Settings) -> str:
    return called_by_name("evaluate", store, **options)


# Calls of Python -----------------------------------------------------------------------------------------------------


def _call(job: str, given: Given) -> str:
    """Where `prompts` is what the caller gave; a setting that is an axis is refused beside it."""
    given = {name: as_written(value) for name, value in given.items()}
    parts = {name: _below(f"{name}.", given) for name in (*_DICTS, "engine", "prompts", "evaluation")}
    below = tuple(f"{name}." for name in parts)
    rest = {name: each for name, each in given.items() if not name.startswith(below) and name != "prompts"}
    words: Given = {argument: parts[name] for name, argument in _DICTS.items() if parts[name]}
    named = {_ARGUMENTS.get(name, name.partition(".")[2] or name): each for name, each in rest.items()}
    if named["model"] == "diffusers":
        named["model"] = named.pop("repo_id")
    words |= {name: each for name, each in named.items() if name not in parts["grid.axes"]}
    rows = {name: each for name, each in parts["prompts"].items() if name not in _HOW_READ}
    words |= {name: each for name, each in parts["prompts"].items() if name in _HOW_READ}
    if "evaluate" in words or parts["evaluation"]:
        words["evaluate"] = _Call("EvaluationOptions", _expecting(parts["evaluation"]))
    prompts = repr(_Call("select", rows, ("prompts",))) if rows else "prompts"
    return repr(_Call(job, words | {"engine": _Call("EngineOptions", parts["engine"])}, (prompts,)))


def _evaluate_call(store: StoreSpec, options: Settings) -> str:
    words = {**_if_any("endpoint_url", store.endpoint_url), **_expecting(options)}
    return repr(_Call("evaluate", words, (repr(store.uri),)))


def _below(prefix: str, given: Given) -> Given:
    return {name.removeprefix(prefix): each for name, each in given.items() if name.startswith(prefix)}


def _expecting(options: Settings) -> Given:
    """With what is expected as the values that a call takes."""
    expected = options.get("expect")
    found = [_Call("Expectation", each) for each in expected] if isinstance(expected, list) else None
    return {**options, **_if_any("expect", found)}


@dataclass(frozen=True, repr=False)
class _Call:
    """A call of `darkroom`, which is written as its text."""

    name: str
    words: Given
    first: tuple[str, ...] = ()

    def __repr__(self) -> str:
        said = ", ".join([*self.first, *(f"{name}={each!r}" for name, each in self.words.items())])
        return f"darkroom.{self.name}({said})"


# Cells -------------------------------------------------------------------------------------------------------------

_MODEL_NAMES = tuple(each.name for each in settings_of(ModelRef) if each.name != "trust_remote_code")


def _of_run(info: RunInfo) -> dict[str, object]:
    """What a cell has where it says nothing of it."""
    return {"num_images_per_prompt": info.num_images_per_prompt, "seed": info.seed}


def _settings(item: CellInfo, info: RunInfo) -> dict[str, object]:
    """A cell as a command says it; a hub's model by its commit, a folder's by nothing but its name."""
    identity, sampling = item.cell.model, item.cell.sampling
    model = {name: getattr(item.ref, name) for name in _MODEL_NAMES}
    model |= {"revision": identity.revision} if _COMMIT.fullmatch(identity.revision) else {}
    model |= {"dtype": item.ref.dtype if identity.is_plug_in else identity.dtype, "variant": identity.variant}
    return model | vars(sampling) | _of_run(info) | sampling.effective


def _shared(cells: Sequence[Settings]) -> dict[str, object]:
    return {name: value for name, value in cells[0].items() if all(cell[name] == value for cell in cells)}


def _grid(cells: Sequence[Settings], run: Settings) -> Given:
    """Axes where the cells are all of their combinations; else cell by cell. A cell may differ from the run alone."""
    names = [name for name in cells[0] if SETTINGS[name].axis]
    axes = {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in names}
    axes = {
        name: sorted(values, key=_order)
        for name, values in axes.items()
        if {*values, run.get(name, values[0])} != {values[0]}
    }
    found = {tuple(cell[name] for name in axes) for cell in cells}
    if not axes:
        return {}
    if found == set(product(*axes.values())):
        return {f"grid.axes.{name}": [_value(name, value) for value in values] for name, values in axes.items()}
    return {"grid.cells": [{name: _value(name, cell[name]) for name in axes} for cell in cells]}


def _value(name: str, value: object) -> object:
    """As a command says it."""
    return _options(value) if SETTINGS[name].is_mapping else value


def _options(text: object) -> Given:
    """Keys with values, of their JSON text; null ones say nothing."""
    given = json.loads(str(text)) if text else {}
    return {name: value for name, value in given.items() if value is not None}


def _order(value: object) -> tuple[int, object]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _model(repo_id: object, shared: Settings) -> Given:
    """The model that all cells share; where they differ, the first one's name, and the grid gives each its own."""
    if shared.get("make"):
        return _plug_in_model(shared)
    preset = preset_of(str(repo_id))
    named: Given = {"model": preset} if preset else {"model": "diffusers", "model.repo_id": repo_id}
    given = {name: shared.get(name) for name in _MODEL_NAMES if name != "repo_id"}
    if preset and given["dtype"] == "float32":  # which presets have by themselves
        given.pop("dtype")
    said = {name: value for name, value in given.items() if SETTINGS[name].does_something(value)}
    return named | {f"model.{name}": value for name, value in said.items() if value not in (None, ())}


def _plug_in_model(shared: Settings) -> Given:
    """A renderer of one's own."""
    given = {name: shared.get(name) for name in ("make", "repo_id", "revision", "variant") if shared.get(name)}
    dtype = {} if shared.get("dtype") == SETTINGS["dtype"].default else _if_any("model.dtype", shared.get("dtype"))
    options = _if_any("model.options", _options(shared.get("options")))
    return {"model": "plugin", **{f"model.{name}": value for name, value in given.items()}, **dtype, **options}


def _prompts(prompts: PromptsInfo) -> Given:
    known = prompts.settings or ({"kind": "demo"} if prompts.name == "demo" else {"kind": "file", "uri": prompts.name})
    given = {name: value for name, value in known.items() if (name, value) not in _USUAL and name != "kind"}
    return {"prompts": known["kind"], **{f"prompts.{name}": value for name, value in given.items()}}


def _sampling(shared: Settings, info: RunInfo) -> Given:
    untaken = UNTAKEN if shared.get("make") else {}
    given = {name: value for name, value in shared.items() if name not in _MODEL_NAMES and value != ""}
    given = {name: value for name, value in given.items() if untaken.get(name, shared) != value}
    given = {name: value for name, value in given.items() if SETTINGS[name].does_something(value)} | _of_run(info)
    return {f"sampling.{name}": value for name, value in given.items()}


def _overlay(text: str) -> Given:
    """Keys that say what is drawn on images."""
    given = json.loads(text) if text else {}
    return {name: value for name, value in given.items() if name != "fonts" and value is not None}


# Where they lie is kept nowhere: who gives the command puts in their own.
_SIGNED = {"output.c2pa.certificate": "certificate.pem", "output.c2pa.private_key": "key.pem"}


def _output(info: RunInfo, store: StoreSpec) -> Given:
    output = info.output
    return {
        "output.uri": store.uri,
        **_if_any("output.endpoint_url", store.endpoint_url),
        "output.layout": output.layout,
        **{f"output.{name}": value for name, value in output.encoding.items() if value or name == "crf"},
        **({"output.provenance": False} if output.provenance is False else {}),
        **_trajectory(output),
        **{f"output.overlay.{name}": value for name, value in _overlay(output.overlay).items()},
        **_if_any("output.watermark.text", output.watermark),
        **(_SIGNED if output.c2pa else {}),
    }


def _trajectory(output: OutputInfo) -> Given:
    if not output.trajectory_prompts:
        return {}
    steps = list(output.trajectory_steps or ())
    said = {"output.trajectory": True, "output.trajectory_prompts": output.trajectory_prompts}
    return said | _if_any("output.trajectory_steps", steps)


def _if_any(name: str, value: object) -> Given:
    return {name: value} if value else {}
