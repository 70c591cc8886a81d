"""Finds a run's models again: where they lay, or where the command says that they lie now. Digests decide, not names.

Nothing that a run stores is trusted: a model's own code runs only where this command says so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from darkroom.domain.cells import ModelIdentity
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import ModelRef
from darkroom.jobs.build import find_model
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.model_files import INDEX
from darkroom.runs.cells import CellInfo

_REMEDY = "give the model's place, or the folder that holds all models of the run, as model.repo_id=..."


def models_of(cells: Iterable[CellInfo], config: DictConfig, device: str) -> dict[ModelIdentity, InspectedModel]:
    """The cells' models, by a job's `model` keys. Raises DarkroomError where one is not what the run was made with."""
    once = {info.cell.model: info for info in cells}
    for info in once.values():
        _check_trust(info, config.trust_remote_code)
    return {identity: _model_of(info, config.repo_id, device) for identity, info in once.items()}


def _check_trust(info: CellInfo, trusts: bool) -> None:
    if info.cell.model.trust_remote_code and not trusts:
        raise DarkroomError(
            f"cell {info.cell.cell_id}: model.repo_id={info.ref.repo_id} runs code of its own; give "
            "model.trust_remote_code=true if you trust it"
        )


def _model_of(info: CellInfo, place: str | None, device: str) -> InspectedModel:
    """Where it lay is looked at too: a run may have several models, and not all have moved."""
    identity, said = info.cell.model, []
    for ref in [*_refs_at(place), info.ref] if place else [info.ref]:
        try:
            model = _inspected(ref, identity, device)
        except DarkroomError as error:
            said.append(f"{error}; or {_REMEDY}")
            continue
        if model.identity.revision == identity.revision:
            return replace(model, identity=identity)
        said.append(
            f"model.repo_id={ref.repo_id} is {model.identity.revision}, and the run was made with "
            f"{identity.revision}; restore that model, or {_REMEDY}"
        )
    raise DarkroomError(said[0])


def _inspected(ref: ModelRef, identity: ModelIdentity, device: str) -> InspectedModel:
    """As the run's model was looked at."""
    commit = None if identity.revision.startswith("sha256:") else identity.revision
    trusts = identity.trust_remote_code
    ref = replace(ref, dtype=identity.dtype, variant=identity.variant, trust_remote_code=trusts)
    return find_model(replace(ref, revision=commit or ref.revision), device)


def _refs_at(place: str) -> Iterator[ModelRef]:
    """The place itself, and where it is no model, the models in it."""
    folder = Path(place).expanduser()
    inside = sorted(path.parent for path in folder.glob(f"*/{INDEX}")) if folder.is_dir() else []
    here = [folder.resolve()] if folder.is_dir() else [place]
    yield from (ModelRef(str(path)) for path in (inside if inside and not (folder / INDEX).is_file() else here))
