"""`engine.batch_size=auto`: a number in its place, once for a run, since the bytes of images depend on it."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from omegaconf import DictConfig

from darkroom.conf.schema import AUTO
from darkroom.domain.errors import DarkroomError
from darkroom.engine.events import AttemptFailed, Event, ShardDone
from darkroom.engine.tasks import ProbeTask
from darkroom.jobs.build import Wanted, WantedCell, renderer_spec
from darkroom.jobs.engine import Engine
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.paint import PAINT_REPO_ID
from darkroom.runs.run import RunInfo, settle_batch_size
from darkroom.storage.store import Store

_DEFAULT = 8  # of a renderer without a model, and of runs that name no number


def settle(found: Wanted, store: Store, engine: Engine, run: RunInfo) -> RunInfo:
    """Where `auto` is asked for, the number of this run, which is claimed; else, what a probe on a worker finds.

    Of two starts at once that both probe, both take the number that was written first.
    """
    if engine.config.batch_size != AUTO:
        return run
    if run.batch_size is None:
        run = settle_batch_size(store, _best(found, engine.device, lambda task: _on_worker(task, engine)))
    engine.config.batch_size = run.batch_size
    print(f"engine.batch_size={run.batch_size}", flush=True)
    return run


def settle_here(found: Wanted, device: str) -> None:
    """The same without an engine or a run: what a probe in this process finds."""
    if found.config.engine.batch_size == AUTO:
        found.config.engine.batch_size = _best(found, device, _in_this_process)


def settle_as(config: DictConfig, number: int | None) -> None:
    """Put a run's own number in the place of `auto`."""
    if config.batch_size == AUTO:
        config.batch_size = number or _DEFAULT


def _best(found: Wanted, device: str, probe: Callable[[ProbeTask], int]) -> int:
    """The smallest of the models' best, each at the largest size of its cells."""
    models = [model for model in found.models if model.source != PAINT_REPO_ID]
    return min((probe(_task(model, found.cells, device)) for model in models), default=_DEFAULT)


def _task(model: InspectedModel, cells: Sequence[WantedCell], device: str) -> ProbeTask:
    samplings = [item.cell.sampling for item in cells if item.model == model]
    largest = max(samplings, key=lambda sampling: (sampling.height * sampling.width, sampling.is_guided))
    return ProbeTask(renderer_spec(model, device, _DEFAULT), largest)


def _on_worker(task: ProbeTask, engine: Engine) -> int:
    from darkroom.engine.probe import make_prober

    sizes: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, ShardDone) and event.report.batch_size:
            sizes.append(event.report.batch_size)
        if isinstance(event, AttemptFailed) and event.final:
            raise DarkroomError(f"engine.batch_size=auto: the probe failed ({event.reason}); give a number")

    replace(engine, num_workers=1).dispatcher(make_prober).run(iter([task]), listen)
    return sizes[0]


def _in_this_process(task: ProbeTask) -> int:
    from darkroom.engine.probe import make_prober

    return make_prober().run_task(task, 1).batch_size or _DEFAULT
