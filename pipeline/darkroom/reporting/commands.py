"""The commands that make a run, or one image of it, again; and the call, of a run whose prompts were in memory."""

import re
from collections.abc import Mapping, Sequence
from itertools import product

from darkroom.domain.settings import SETTINGS, ModelRef, settings_of
from darkroom.runs.cells import CellInfo
from darkroom.runs.commands import called_by_name, plain, word
from darkroom.runs.presets import preset_of
from darkroom.runs.run import PromptsInfo, RunInfo
from darkroom.storage.store import StoreSpec

_USUAL = [("on_invalid", "fail"), ("mode", "product")]  # of the prompts' settings: need no word
_ARGUMENTS = {"output.uri": "out"}  # of a call, where they are not called as the keys are
_COMMIT = re.compile(r"[0-9a-f]{40}")

Settings = Mapping[str, object]
Given = dict[str, object]  # keys of the command line with their values


def verify_command(store: StoreSpec, image_id: str, trusts: bool = False) -> str:
    """`trusts`: its model's own code must run, which no stored run decides."""
    trust = {"model.trust_remote_code": True} if trusts else {}
    return called_by_name("verify", store, image_id=image_id, **trust)


def run_command(info: RunInfo, cells: Sequence[CellInfo], store: StoreSpec, batch_size: int | None) -> str:
    """Renders the run's cells: `generate` for one, `sweep` for more; a line for each answer to trust_remote_code, which
    a sweep's cells share. `batch_size`: of the records; another one may move low bits."""
    said = _call if info.prompts.settings.get("kind") == "memory" else _line
    lines = []
    for trusts in sorted({item.cell.model.trust_remote_code for item in cells}):
        settings = [_settings(item, info) for item in cells if item.cell.model.trust_remote_code is trusts]
        shared, grid = _shared(settings), _grid(settings, _of_run(info))
        given = {
            **_model(settings[0]["repo_id"], shared),
            **_if_any("model.trust_remote_code", trusts),
            **_prompts(info.prompts),
            **_sampling(shared, info),
            **grid,
            **_output(info, store),
            "engine.shard_size": info.shard_size,
            **_if_any("engine.batch_size", batch_size),
        }
        lines.append(said("sweep" if grid else "generate", given))
    return "\n".join(lines)


def _line(job: str, given: Given) -> str:
    """For a shell."""
    return " ".join(["darkroom", job, *(word(name, value) for name, value in given.items())])


def _call(job: str, given: Given) -> str:
    """For Python, where `prompts` is what the caller gave."""
    axes = {name.removeprefix("grid.axes."): each for name, each in given.items() if name.startswith("grid.axes.")}
    engine = {name.removeprefix("engine."): each for name, each in given.items() if name.startswith("engine.")}
    rest = {name: each for name, each in given.items() if not name.startswith(("grid.axes.", "engine.", "prompts"))}
    words: Given = {"axes": plain_values(axes)} if axes else {}
    words |= {_ARGUMENTS.get(name, name.partition(".")[2] or name): each for name, each in plain_values(rest).items()}
    if words["model"] == "diffusers":
        words["model"] = words.pop("repo_id")
    options = ", ".join(f"{name}={each!r}" for name, each in engine.items())
    said = ["prompts", *(f"{name}={each!r}" for name, each in words.items())]
    return f"darkroom.{job}({', '.join(said)}, engine=darkroom.EngineOptions({options}))"


def plain_values(given: Given) -> Given:
    return {name: plain(value) for name, value in given.items()}


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
    model |= {"dtype": identity.dtype, "variant": identity.variant}
    return model | vars(sampling) | _of_run(info) | sampling.effective


def _shared(cells: Sequence[Settings]) -> dict[str, object]:
    return {name: value for name, value in cells[0].items() if all(cell[name] == value for cell in cells)}


def _grid(cells: Sequence[Settings], run: Settings) -> Given:
    """Axes where the cells are all of their combinations; else cell by cell. A cell may differ from the run alone."""
    axes = {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in cells[0]}
    axes = {
        name: sorted(values, key=_order)
        for name, values in axes.items()
        if {*values, run.get(name, values[0])} != {values[0]}
    }
    found = {tuple(cell[name] for name in axes) for cell in cells}
    if not axes:
        return {}
    if found == set(product(*axes.values())):
        return {f"grid.axes.{name}": values for name, values in axes.items()}
    return {"grid.cells": [{name: cell[name] for name in axes} for cell in cells]}


def _order(value: object) -> tuple[int, object]:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _model(repo_id: object, shared: Settings) -> Given:
    """The model that all cells share; where they differ, the first one's name, and the grid gives each its own."""
    preset = preset_of(str(repo_id))
    named: Given = {"model": preset} if preset else {"model": "diffusers", "model.repo_id": repo_id}
    given = {name: shared.get(name) for name in _MODEL_NAMES if name != "repo_id"}
    if preset and given["dtype"] == "float32":  # which presets have by themselves
        given.pop("dtype")
    return named | {f"model.{name}": value for name, value in given.items() if value not in (None, ())}


def _prompts(prompts: PromptsInfo) -> Given:
    known = prompts.settings or ({"kind": "demo"} if prompts.name == "demo" else {"kind": "file", "uri": prompts.name})
    given = {name: value for name, value in known.items() if (name, value) not in _USUAL and name != "kind"}
    return {"prompts": known["kind"], **{f"prompts.{name}": value for name, value in given.items()}}


def _sampling(shared: Settings, info: RunInfo) -> Given:
    given = {name: value for name, value in shared.items() if name not in _MODEL_NAMES and value != ""}
    given = {name: value for name, value in given.items() if SETTINGS[name].does_something(value)} | _of_run(info)
    return {f"sampling.{name}": value for name, value in given.items()}


def _output(info: RunInfo, store: StoreSpec) -> Given:
    output = info.output
    return {
        "output.uri": store.uri,
        **_if_any("output.endpoint_url", store.endpoint_url),
        "output.layout": output.layout,
        "output.image_format": output.image_format,
        **_if_any("output.quality", output.quality),
    }


def _if_any(name: str, value: object) -> Given:
    return {name: value} if value else {}
