"""Opens a run that is there, for the jobs that work on one."""

from dataclasses import replace

from omegaconf import DictConfig

from jobs.build import find_model
from pipeline.domain.errors import DarkroomError
from pipeline.rendering.inspection import InspectedModel
from pipeline.runs.run import RunInfo, open_run
from pipeline.storage.opening import open_store
from pipeline.storage.store import Store, parse_spec


def opened(config: DictConfig) -> tuple[Store, RunInfo]:
    """The run that `run=` names. Raises DarkroomError where there is none."""
    store = open_store(parse_spec(config.run, config.endpoint_url))
    store.check(writing=False)
    return store, open_run(store)


def model_of(run: RunInfo, device: str) -> InspectedModel:
    """The run's model, found again. Raises DarkroomError when it is not the one that the run was made with."""
    commit = run.model.revision if run.identity.revision.startswith("sha256:") else run.identity.revision
    model = find_model(replace(run.model, dtype=run.identity.dtype, revision=commit), device)
    if model.identity.revision != run.identity.revision:
        raise DarkroomError(
            f"model.repo_id={run.model.repo_id} is now {model.identity.revision}, and the run was made with "
            f"{run.identity.revision}; restore that model"
        )
    return model
