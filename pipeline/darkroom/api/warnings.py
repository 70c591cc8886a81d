"""What of a checked request will work but may surprise, in sentences."""

from collections.abc import Collection, Iterator
from dataclasses import replace

from darkroom.api.cells import CheckedCell
from darkroom.api.checking import Checked
from darkroom.api.plug_ins import warnings_of
from darkroom.api.prompt_checks import size_warnings, tag_warnings, text_reader
from darkroom.domain.adapters import names_in
from darkroom.domain.prompt_syntax import A1111, PLAIN
from darkroom.domain.records import adapters_of
from darkroom.prompts.dataset import count_long_prompts
from darkroom.rendering.backends import OPENVINO, torch_settings
from darkroom.rendering.family import STEERED
from darkroom.rendering.inspected_model import InspectedModel, token_counter
from darkroom.rendering.own_settings import idle_cache, idle_settings, unfit_choices, unfit_settings


def warnings(found: Checked) -> Iterator[str]:
    """What will work but may surprise."""
    yield from found.scan.warnings
    yield from tag_warnings(found.scan, found.said, found.cells)
    yield from dict.fromkeys(size_warnings(found.cells, found.said.numbers))
    yield from _unread_marks(found)
    yield from _idle_gpus(found)
    yield from dict.fromkeys(filter(None, (_long_prompts(*each, found) for each in _read_by(found))))
    for model in found.models:
        yield from warnings_of(model.plug_in) if model.plug_in else _unproved(model)
    rows, own = found.scan.num_overriding, [item for item in found.cells if not item.model.plug_in]
    yield from dict.fromkeys(text for item in own for text in _unfit(item, rows))
    if found.request.engine.backend == OPENVINO:
        names = dict.fromkeys(name for item in own for name in torch_settings(item.cell.sampling))
        yield from (f"engine.backend={OPENVINO}: images with sampling.{name} are computed by torch" for name in names)
    yield from dict.fromkeys(text for item in own for text in _unfit_rows(item, found))


def _idle_gpus(found: Checked) -> Iterator[str]:
    """A renderer of one's own may use several."""
    number = found.request.engine.num_gpus or 0
    if number > 1 and not any(model.plug_in for model in found.models):
        yield f"engine.num_gpus={number:g}: a worker computes on one GPU, and its others idle; give 1"


def _unfit(item: CheckedCell, rows: Collection[str]) -> Iterator[str]:
    sampling = item.cell.sampling
    yield from unfit_settings(sampling, item.model, adapters_of(item.cell, sampling))
    yield from idle_settings(sampling, item.model, rows)
    yield from idle_cache(sampling, rows)


def _unfit_rows(item: CheckedCell, found: Checked) -> Iterator[str]:
    """The same of what rows say: the most steps and guidance of any, and LoRAs whose cards say other settings."""
    sampling, active = item.cell.sampling, adapters_of(item.cell, item.cell.sampling)
    given = {
        name: value for name, value in found.scan.highest.items() if name in ("guidance_scale", "num_inference_steps")
    }
    if given:
        of_rows = unfit_settings(replace(sampling, **given), item.model, active)  # type: ignore[arg-type]
        of_cell = set(unfit_settings(sampling, item.model, active))
        yield from (text.replace("sampling.", "column ", 1) for text in of_rows if text not in of_cell)
    chosen = {name for value in found.scan.loras for name in names_in(value)} | found.said.loras
    yield from unfit_choices(sampling, item.model, active, chosen, found.scan.num_overriding)


def _unproved(model: InspectedModel) -> Iterator[str]:
    if not model.family.is_proved:
        yield (
            f"unproved: {model.identity.pipeline_class} of {model.identity.repo_id} is not in Darkroom's table of "
            "pipelines; its arguments are taken by their names, and whether they act and images stand alone is not "
            "known"
        )


def _unread_marks(found: Checked) -> Iterator[str]:
    cells, count = found.cells, found.scan.num_marked
    is_read = "prompt_syntax" in found.scan.num_overriding or any(
        item.cell.sampling.prompt_syntax != PLAIN for item in cells
    )
    if count and not is_read and any(item.model.identity.pipeline_class in STEERED for item in cells):
        yield (
            f"{count:,} prompts hold (word:1.2) or <lora:name:1>, which are encoded as text; "
            f"sampling.prompt_syntax={A1111} reads them"
        )


def _read_by(found: Checked) -> Iterator[tuple[InspectedModel, str]]:
    """The models that are loaded, each with every syntax that its cells read prompts in."""
    syntaxes = {(item.cell.model.base, item.cell.sampling.prompt_syntax) for item in found.cells}
    for model in found.models:
        yield from ((model, syntax) for base, syntax in sorted(syntaxes, key=str) if base == model.identity.base)


def _long_prompts(model: InspectedModel, syntax: str, found: Checked) -> str | None:
    limit = model.max_prompt_tokens
    counter = None if limit is None else token_counter(model)
    if limit is None or counter is None:
        return None
    count = count_long_prompts(found.request.prompts.dataset, counter, limit, text_of=text_reader(syntax))
    if not count.num_long:
        return None
    checked = "" if count.num_checked == count.num_rows else f" of the first {count.num_checked}"
    return (
        f"{count.num_long}{checked} prompts are longer than the {limit} tokens that {model.identity.repo_id} reads; "
        "their ends are cut off, and their records say truncated"
    )
