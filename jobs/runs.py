"""Opens a run that is there, for the jobs that work on one."""

from dataclasses import dataclass, replace

from omegaconf import DictConfig

from jobs.build import find_model
from pipeline.domain.cells import ModelIdentity
from pipeline.domain.errors import DarkroomError
from pipeline.rendering.inspection import InspectedModel
from pipeline.runs.cells import CellInfo
from pipeline.runs.opening import open_whole
from pipeline.runs.run import RunInfo
from pipeline.storage.opening import open_store
from pipeline.storage.store import Store, parse_spec


@dataclass(frozen=True)
class OpenedRun:
    """A run that is there."""

    store: Store
    info: RunInfo
    cells: dict[str, CellInfo]  # by cell_id


def opened(config: DictConfig) -> OpenedRun:
    """The run that `run=` names. Raises DarkroomError where there is none."""
    return open_at(config.run, config.endpoint_url)


def open_at(uri: str, endpoint_url: str | None) -> OpenedRun:
    """The same by its address."""
    store = store_at(uri, endpoint_url)
    return OpenedRun(store, *open_whole(store))


def store_at(uri: str, endpoint_url: str | None) -> Store:
    """The store at an address, which can be read. Raises DarkroomError where it cannot."""
    store = open_store(parse_spec(uri, endpoint_url))
    store.check(writing=False)
    return store


def models_of(cells: list[CellInfo], device: str) -> dict[ModelIdentity, InspectedModel]:
    """The cells' models, found again. Raises DarkroomError when one is not what the run was made with."""
    refs = {info.cell.model: info for info in cells}
    return {identity: _model_of(info, device) for identity, info in refs.items()}


def _model_of(info: CellInfo, device: str) -> InspectedModel:
    identity = info.cell.model
    commit = info.ref.revision if identity.revision.startswith("sha256:") else identity.revision
    model = find_model(replace(info.ref, dtype=identity.dtype, revision=commit), device)
    if model.identity.revision != identity.revision:
        raise DarkroomError(
            f"model.repo_id={info.ref.repo_id} is now {model.identity.revision}, and the run was made with "
            f"{identity.revision}; restore that model"
        )
    return replace(model, identity=identity)
