"""Opens a run that is there, for the jobs that work on one."""

from dataclasses import dataclass

from omegaconf import DictConfig

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
    store = open_store(parse_spec(uri, endpoint_url))
    store.check(writing=False)
    return OpenedRun(store, *open_whole(store))
