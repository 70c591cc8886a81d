"""The parts that are added to a cell's model: LoRAs, textual inversions, a VAE and the like. Digests decide."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkroom.demo import LORAS
from darkroom.domain.adapters import NO_LORA, Part, unknown_loras
from darkroom.domain.errors import DarkroomError
from darkroom.domain.setting_values import unknown
from darkroom.domain.settings import PARTS, SETTINGS, ModelRef, Sampling
from darkroom.prompts.dataset import PromptScan
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.part_files import PartFile, digests_of, files_at, is_local, revision_of
from darkroom.runs.cells import CellInfo

_EMBEDDED = "darkroom/"  # begins the name of what is embedded
_EMBEDDED_LORAS = {f"{_EMBEDDED}{style}": str(file) for style, file in LORAS.items()}


def with_places(ref: ModelRef) -> ModelRef:
    """The same, with parts that lie on this machine by their absolute paths."""
    parts: dict[str, Any] = {each.name: _located_part(getattr(ref, each.name)) for each in PARTS}
    return replace(ref, **parts, single_file=_located_part(ref.single_file))


def _located_part(value: Any) -> Any:
    """Of a setting that names parts: a path, or entries that have one."""
    if isinstance(value, tuple):
        return tuple(replace(each, path=_located_path(each.path)) for each in value)
    return _located_path(value) if value else value


def _located_path(path: str) -> str:
    """Of a part that lies here, the absolute path, of a link that of the link itself; a hub id stays, and so does the
    name of an embedded one, whatever file is called so here."""
    if path.rstrip("/") in _EMBEDDED_LORAS:
        return path.rstrip("/")
    return os.path.abspath(Path(path).expanduser()) if is_local(path) else path  # noqa: PTH100 - `resolve` follows links


def with_lora_files(ref: ModelRef) -> ModelRef:
    """The same, with the files of embedded LoRAs in the place of their names."""
    return replace(ref, loras=tuple(replace(each, path=_lora_file(each.path)) for each in ref.loras))


def _lora_file(path: str) -> str:
    path = path.rstrip("/") if path.startswith(_EMBEDDED) else path
    if path.startswith(_EMBEDDED) and path not in _EMBEDDED_LORAS and path.count("/") == 1:
        raise DarkroomError(f"model.loras {unknown(path, tuple(_EMBEDDED_LORAS), 'embedded LoRA')}")
    return _EMBEDDED_LORAS.get(path, path)


def with_lora_names(text: str) -> str:
    """A message, with the names of embedded LoRAs in the place of their files."""
    for name, file in _EMBEDDED_LORAS.items():
        text = text.replace(file, name)
    return text


def check_loras(sampling: Sampling, model: InspectedModel) -> None:
    """Refuse names that no LoRA of the model has, and a weight of none."""
    loras = model.identity.loras
    for name in unknown_loras(loras, sampling.lora):
        raise DarkroomError(no_lora(f"sampling.lora={sampling.lora}", name, model))
    if not loras and SETTINGS["lora_weight"].does_something(sampling.lora_weight):
        raise DarkroomError(
            f"sampling.lora_weight={sampling.lora_weight:g}: {model.identity.repo_id} has no LoRA; leave it out, or "
            "give model.loras=[...]"
        )


def no_lora(said: str, name: str, model: InspectedModel, *, is_tag: bool = False) -> str:
    """What is said of a name that no LoRA of a model has, and where it stands."""
    known = [*([] if is_tag else [NO_LORA]), *(part.name for part in model.identity.loras)]
    give = f"give one of {', '.join(known)}, or " if known else ""
    return f"{said}: {model.identity.repo_id} has no LoRA {name!r}; {give}add it to model.loras=[...]"


def check_rows_loras(scan: PromptScan, model: InspectedModel, is_recording: bool) -> None:
    """Rows may name LoRAs of each cell's model, which a reader of prompts does not know. `is_recording`: rows that name
    others are recorded."""
    leave = "prompts.columns.{}=null leaves its column unread"
    for value in scan.loras if not is_recording else ():
        for name in unknown_loras(model.identity.loras, value):
            raise DarkroomError(f"{no_lora(f'column lora={value}', name, model)}; or {leave.format('lora')}")
    if scan.num_overriding.get("lora_weight") and not model.identity.loras:
        raise DarkroomError(
            f"column lora_weight: {model.identity.repo_id} has no LoRA; give model.loras=[...]; "
            f"{leave.format('lora_weight')}"
        )


# Of a stored run -----------------------------------------------------------------------------------------------------


def without_parts(ref: ModelRef) -> ModelRef:
    """The model alone."""
    none: dict[str, Any] = {each.name: each.neutral for each in PARTS}
    return replace(ref, **none)


def parts_of(info: CellInfo, places: Sequence[str]) -> tuple[PartFile, ...]:
    """The files of what was added to a cell's model, where they lay or in one of these places; the digest decides."""
    values = [getattr(info.ref, each.name) for each in PARTS]
    named = [
        _EMBEDDED_LORAS.get(each.path, each.path) for value in values if isinstance(value, tuple) for each in value
    ]
    named += [value for value in values if isinstance(value, str)]
    return tuple(_part_of(part, path, places) for part, path in zip(info.cell.model.parts, named, strict=True))


def _part_of(part: Part, path: str, places: Sequence[str]) -> PartFile:
    label, said = f"model.{part.kind} {part.name}", []
    for place in [*(file for folder in places for file in files_at(_lora_file(folder), part.kind)), path]:
        try:
            digests = digests_of(part.kind, place, f"{label} ({place})")
        except DarkroomError as error:
            said.append(str(error))
            continue
        if (found := revision_of(digests)) == part.revision:
            return PartFile(part, place, tuple(digests.items()))
        said.append(f"{label} ({place}) is {found}, and the run was made with {part.revision}")
    raise DarkroomError(
        f"{said[-1]}; restore it, or give the file or its folder, as it lies now, as model.adapters=[...]"
    )
