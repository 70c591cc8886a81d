"""What stands for `auto` in a batch size: a run's own number, or what a probe finds fastest."""

from collections.abc import Callable
from dataclasses import replace

from darkroom.api.checking import Checked
from darkroom.api.engine import Engine, renderer_spec
from darkroom.api.options import AUTO, EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.settings import Sampling
from darkroom.engine.tasks import AttemptFailed, Event, ProbeTask, ShardDone
from darkroom.rendering.inspection import InspectedModel
from darkroom.runs.run import RunInfo, settle_batch_size
from darkroom.storage.store import Store

_USUAL_BATCH_SIZE = 8  # of a renderer without a model, and of runs that name no number


def settle(found: Checked, store: Store, engine: Engine, run: RunInfo) -> tuple[RunInfo, Engine]:
    """Both with a number in the place of `auto`: the run's, which is claimed; else what a probe on a worker finds.

    Once for a run, since the bytes of images depend on it. Of two calls at once that both probe, both take the number
    that was written first.
    """
    if engine.options.batch_size != AUTO:
        return run, engine
    if run.batch_size is None:
        run = settle_batch_size(store, _best(found, engine.device, lambda task: _on_worker(task, engine)))
    assert run.batch_size is not None
    return run, engine.with_batch_size(run.batch_size)


def settled_here(found: Checked, device: str) -> int:
    """The same without an engine or a run: what a probe in this process finds."""
    size = found.request.engine.batch_size
    return _best(found, device, _in_this_process) if size == AUTO else int(size)


def settled_for(model: InspectedModel, sampling: Sampling, device: str, options: EngineOptions) -> int:
    """The same of one model with these settings."""
    if options.batch_size != AUTO:
        return int(options.batch_size)
    return _in_this_process(ProbeTask(renderer_spec(model, device, _USUAL_BATCH_SIZE, options), sampling))


def settled_as(options: EngineOptions, run: RunInfo) -> EngineOptions:
    """With a run's own values in the place of `auto`."""
    size = run.batch_size or _USUAL_BATCH_SIZE if options.batch_size == AUTO else options.batch_size
    return replace(options, batch_size=size, compile=bool(run.compile) if options.compile == AUTO else options.compile)


def _best(found: Checked, device: str, probe: Callable[[ProbeTask], int]) -> int:
    """The smallest of the models' best, each at the largest size of its cells."""
    models = [model for model in found.models if model.folder is not None]
    return min((probe(_probe_task(model, found, device)) for model in models), default=_USUAL_BATCH_SIZE)


def _probe_task(model: InspectedModel, found: Checked, device: str) -> ProbeTask:
    samplings = [item.cell.sampling for item in found.cells if item.model == model]
    largest = max(samplings, key=lambda sampling: (sampling.height * sampling.width, sampling.is_guided))
    return ProbeTask(renderer_spec(model, device, _USUAL_BATCH_SIZE, found.request.engine), largest)


def _on_worker(task: ProbeTask, engine: Engine) -> int:
    from darkroom.engine.spec import make_prober

    sizes: list[int] = []

    def listen(event: Event) -> None:
        if isinstance(event, ShardDone) and event.report.batch_size:
            sizes.append(event.report.batch_size)
        if isinstance(event, AttemptFailed) and event.final:
            raise DarkroomError(f"engine.batch_size=auto: the probe failed ({event.reason}); give a number")

    replace(engine, num_workers=1).dispatcher(make_prober).run(iter([task]), listen)
    return sizes[0]


def _in_this_process(task: ProbeTask) -> int:
    from darkroom.engine.spec import make_prober

    return make_prober().run_task(task, 1).batch_size or _USUAL_BATCH_SIZE
