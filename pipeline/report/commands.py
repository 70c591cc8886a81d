"""The commands that make a run, or one image of it, again. Knows the command line's words, not what reads them."""

import re
import shlex
from collections.abc import Mapping, Sequence
from itertools import product

from pipeline.runs.cells import CellInfo
from pipeline.runs.run import PromptsInfo, RunInfo
from pipeline.storage.store import StoreSpec

_PRESETS = {"darkroom/demo": "demo", "darkroom/paint": "paint"}  # models that have a configuration of their own
_USUAL = [("on_invalid", "fail"), ("mode", "product")]  # of the prompts' settings: need no word
_COMMIT = re.compile(r"[0-9a-f]{40}")
_BARE = re.compile(r"[A-Za-z0-9_./@%+:-]+")
_KEYWORDS = {"null", "true", "false"}
_QUOTES = re.compile(r'(\\*)("|\Z)')  # with the backslashes before them

Settings = Mapping[str, object]


def verify_command(store: StoreSpec, image_id: str) -> str:
    return _command("verify", [*run_words(store), word("image_id", image_id)])


def run_words(store: StoreSpec) -> list[str]:
    """What names a run to the jobs that work on one."""
    endpoint = [word("endpoint_url", store.endpoint_url)] if store.endpoint_url else []
    return [word("run", store.uri), *endpoint]


def run_command(info: RunInfo, cells: Sequence[CellInfo], store: StoreSpec, batch_size: int | None) -> str:
    """Renders the run's cells: `generate` for one, `sweep` for more; a line for each answer to trust_remote_code, which
    a sweep's cells share. `batch_size`: of the records; another one may move low bits."""
    lines = []
    for trusts in sorted({item.cell.model.trust_remote_code for item in cells}):
        settings = [_settings(item) for item in cells if item.cell.model.trust_remote_code is trusts]
        shared, grid = _shared(settings), _grid(settings)
        words = [
            *_model_words(settings[0]["repo_id"], shared),
            *_given("model.trust_remote_code", trusts),
            *_prompts_words(info.prompts),
            *_sampling_words(shared, info),
            *grid,
            *_output_words(info, store),
            word("engine.shard_size", info.shard_size),
            *_given("engine.batch_size", batch_size),
        ]
        lines.append(_command("sweep" if grid else "generate", words))
    return "\n".join(lines)


def word(name: str, value: object) -> str:
    """`name=value`, ready for a shell. A text is taken whole; what is in a list or in keys with values is read by
    Hydra's grammar. https://hydra.cc/docs/advanced/override_grammar/basic/"""
    return shlex.quote(f"{name}={_whole(value) if isinstance(value, str) else _hydra(value)}")


# Cells -------------------------------------------------------------------------------------------------------------

_MODEL_NAMES = ("repo_id", "revision", "dtype", "variant")


def _settings(item: CellInfo) -> dict[str, object]:
    """A cell as a command says it; a hub's model by its commit, a folder's by nothing but its name."""
    identity, sampling = item.cell.model, item.cell.sampling
    revision = identity.revision if _COMMIT.fullmatch(identity.revision) else item.ref.revision
    model = (item.ref.repo_id, revision, identity.dtype, identity.variant)
    return dict(zip(_MODEL_NAMES, model, strict=True)) | vars(sampling)


def _shared(cells: Sequence[Settings]) -> dict[str, object]:
    return {name: value for name, value in cells[0].items() if all(cell[name] == value for cell in cells)}


def _grid(cells: Sequence[Settings]) -> list[str]:
    """Axes where the cells are all of their combinations; else cell by cell."""
    axes = {name: list(dict.fromkeys(cell[name] for cell in cells)) for name in cells[0]}
    axes = {name: sorted(values, key=_order) for name, values in axes.items() if len(values) > 1}
    found = {tuple(cell[name] for name in axes) for cell in cells}
    if not axes:
        return []
    if found == set(product(*axes.values())):
        return [word(f"grid.axes.{name}", values) for name, values in axes.items()]
    return [word("grid.cells", [{name: cell[name] for name in axes} for cell in cells])]


def _order(value: object) -> tuple:
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _model_words(repo_id: object, shared: Settings) -> list[str]:
    """The model that all cells share; where they differ, the first one's name, and the grid gives each its own."""
    preset = _PRESETS.get(str(repo_id))
    named = [word("model", preset)] if preset else [word("model", "diffusers"), word("model.repo_id", repo_id)]
    own = {name: shared.get(name) for name in ("revision", "dtype", "variant")}
    if preset and own["dtype"] == "float32":  # the presets' own
        own.pop("dtype")
    return [*named, *(word(f"model.{name}", value) for name, value in own.items() if value is not None)]


def _prompts_words(prompts: PromptsInfo) -> list[str]:
    known = prompts.settings or ({"kind": "demo"} if prompts.name == "demo" else {"kind": "file", "uri": prompts.name})
    given = [word(f"prompts.{name}", value) for name, value in known.items() if (name, value) not in _USUAL]
    return [word("prompts", known["kind"]), *(text for text in given if not text.startswith("prompts.kind="))]


def _sampling_words(shared: Settings, info: RunInfo) -> list[str]:
    given = {name: value for name, value in shared.items() if name not in _MODEL_NAMES and value != ""}
    given |= {"seed": info.seed, "num_images_per_prompt": info.num_images_per_prompt}
    return [word(f"sampling.{name}", value) for name, value in given.items()]


def _output_words(info: RunInfo, store: StoreSpec) -> list[str]:
    output = info.output
    return [
        word("output.uri", store.uri),
        *_given("output.endpoint_url", store.endpoint_url),
        word("output.layout", output.layout),
        word("output.image_format", output.image_format),
        *_given("output.quality", output.quality),
    ]


def _given(name: str, value: object) -> list[str]:
    return [word(name, value)] if value else []


# Words -------------------------------------------------------------------------------------------------------------


def _command(job: str, words: Sequence[str]) -> str:
    return " ".join(["darkroom", job, *words])


def _hydra(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return repr(value).removesuffix(".0")
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{name}:{_hydra(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(_hydra, value)) + "]"
    return _text(str(value))


def _text(text: str) -> str:
    """Quoted where it would be read as anything but this text."""
    if _BARE.fullmatch(text) and text.lower() not in _KEYWORDS and not _is_number(text):
        return text
    return _quoted(text)


def _whole(text: str) -> str:
    """As it is, unless that would be read as none, or without the quotes around it."""
    return _quoted(text) if text == "null" or text[:1] in ("'", '"') else text


def _quoted(text: str) -> str:
    return '"' + _QUOTES.sub(lambda found: found[1] * 2 + ('\\"' if found[2] else ""), text) + '"'


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
