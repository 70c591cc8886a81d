"""Opens a run that is there, for the jobs that work on one."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from omegaconf import DictConfig

from darkroom.domain.errors import DarkroomError
from darkroom.runs.cells import CellInfo
from darkroom.runs.opening import open_whole
from darkroom.runs.run import RunInfo
from darkroom.storage.opening import open_store
from darkroom.storage.store import Store, parse_spec


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
    with _named_as_run():
        store = open_store(parse_spec(uri, endpoint_url))
        store.check(writing=False)
    return store


def check_writable(found: OpenedRun) -> None:
    """Raises DarkroomError where nothing can be stored beside the run."""
    with _named_as_run():
        found.store.check()


@contextmanager
def _named_as_run() -> Iterator[None]:
    """A store speaks of where a run goes, and these jobs call it `run`."""
    try:
        yield
    except DarkroomError as error:
        raise type(error)(str(error).replace("output.uri", "run").replace("output.endpoint", "endpoint")) from error
