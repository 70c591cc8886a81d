"""How fast models render: kept in the user's cache, for choices of later plans and runs; and the fastest batch size,
which `auto` stands for, unless a run has a number of its own.

A speed is kept by all that it depends on: the model, how it is held, the kind of device, the batch size, the size of
images, the steps, of videos the frames, and the versions. Of GPUs alone, since nothing is chosen by it elsewhere.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

from darkroom.api.checking import Checked
from darkroom.api.engine import Engine, device_model, renderer_spec
from darkroom.api.options import AUTO, EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, digest
from darkroom.domain.settings import Sampling
from darkroom.engine.tasks import AttemptFailed, Event, Listener, ProbeTask, ShardDone, ShardReport, ShardTask
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.renderer import RendererSpec
from darkroom.runs.certificates import model_key
from darkroom.runs.files import from_json, to_json
from darkroom.runs.run import RunInfo, settle_batch_size
from darkroom.storage.local import user_cache
from darkroom.storage.store import NotFound, Store

_CACHE = "speeds"
_MEASURED_ON = ("cuda",)
_SHAPING = frozenset({"height", "width", "num_frames", "num_inference_steps", "guidance_scale"})
_USUAL_BATCH_SIZE = 8  # of a renderer without a model, and of runs that name no number


@dataclass(frozen=True)
class Measured:
    """Seconds of an image, eager and compiled, and what the first compiled call cost more; None: not seen yet."""

    eager_s: float | None = None
    compiled_s: float | None = None
    compile_s: float | None = None  # the most of all times, since compiled code that is kept may be lost again

    def seen(self, is_compiled: bool, seconds: float, more_s: float) -> "Measured":
        """With a later measurement. `more_s`: by how much the first call was longer than others."""
        if not is_compiled:
            return replace(self, eager_s=seconds)
        return replace(self, compiled_s=seconds, compile_s=max(more_s, self.compile_s or 0.0))


def measured_speed(spec: RendererSpec, sampling: Sampling) -> Measured:
    """What is kept; nothing of what is not there or cannot be read."""
    with suppress(NotFound, OSError, ValueError, KeyError, TypeError):
        return from_json(Measured, json.loads(user_cache(_CACHE).get(_name(spec, sampling))))
    return Measured()


def keep_speed(spec: RendererSpec, sampling: Sampling, seconds: float, more_s: float) -> None:
    """Of an image, and of a first call; on a device where something is chosen by it."""
    if spec.device not in _MEASURED_ON:
        return
    found = measured_speed(spec, sampling).seen(spec.compile, seconds, max(more_s, 0.0))
    with suppress(OSError):  # the next run measures again
        user_cache(_CACHE).put(_name(spec, sampling), to_json(asdict(found)), "application/json")


def are_alike(overriding: Collection[str]) -> bool:
    """Whether the images of a cell take the same time, whatever rows have of their own."""
    return not _SHAPING.intersection(overriding)


def _name(spec: RendererSpec, sampling: Sampling) -> str:
    frames = (sampling.num_frames,) if sampling.is_video else ()
    shape = sampling.height, sampling.width, sampling.num_inference_steps, sampling.is_guided, sampling.lossy, *frames
    versions = {library: version(library) for library in ("torch", "diffusers")}
    where = device_model(spec.device), dict(spec.model.execution), versions
    return f"{digest('speed', model_key(spec.model.identity), spec.batch_size, shape, where)}.json"


class SpeedKeeper:
    """Keeps how fast a job's cells were rendered, by the shards of workers that have rendered more than one of a cell.

    The first shard of each holds the first call.
    """

    def __init__(self, specs: Iterable[RendererSpec], overriding: Collection[str]) -> None:
        """`overriding`: settings that rows have of their own."""
        self._specs = {spec.model.identity: spec for spec in specs}
        self._is_on = are_alike(overriding)
        self._reports: dict[tuple[str, str], list[ShardReport]] = defaultdict(list)  # by worker and cell_id
        self._cells: dict[str, Cell] = {}

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone) and isinstance(event.task, ShardTask) and event.report.num_made:
                cell = event.task.cell
                self._cells[cell.cell_id] = cell
                self._reports[event.worker, cell.cell_id].append(event.report)
            listen(event)

        return hear

    def keep(self) -> None:
        for (_, cell_id), (first, *others) in self._reports.items():
            cell = self._cells[cell_id]
            spec = self._specs.get(cell.model.base)
            if self._is_on and spec and others:
                seconds = sum(each.render_s for each in others) / sum(each.num_made for each in others)
                keep_speed(spec, cell.sampling, seconds, first.render_s - seconds * first.num_made)


# What is assumed -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speed:
    """Seconds of an image, eager and compiled, and what the first call of a shape costs more where it is compiled."""

    eager_s: float
    compiled_s: float
    compile_s: float


# What one H200 showed in bfloat16, of images of so many pixels in 20 guided steps (infra/gpu_figures.md). A slower
# device saves more seconds an image, so that compiling repays sooner there.
_KNOWN: Mapping[str, tuple[int, Speed]] = {
    "StableDiffusionPipeline": (512 * 512, Speed(1 / 7.11, 1 / 11.4, 98.0)),
    "StableDiffusionXLPipeline": (1024 * 1024, Speed(1 / 1.22, 1 / 1.70, 120.0)),
}
_KNOWN_STEPS = 20


def usual_speed(pipeline_class: str, sampling: Sampling) -> Speed:
    """What is assumed where nothing was measured. Of other classes, the least that compiling may save: as fast as the
    fastest that is known, at the smallest gain and the highest cost."""
    pixels, known = _KNOWN.get(pipeline_class) or _least()
    share = sampling.height * sampling.width / pixels * sampling.num_inference_steps / _KNOWN_STEPS
    share *= (1 if sampling.is_guided else 1 / 2) * (sampling.num_frames or 1)
    return Speed(known.eager_s * share, known.compiled_s * share, known.compile_s)


def _least() -> tuple[int, Speed]:
    pixels, fastest = min(_KNOWN.values(), key=lambda each: each[1].eager_s / each[0])
    gain = min(speed.eager_s / speed.compiled_s for _, speed in _KNOWN.values())
    cost = max(speed.compile_s for _, speed in _KNOWN.values())
    return pixels, Speed(fastest.eager_s, fastest.eager_s / gain, cost)


def speed_of(usual: Speed, measured: Measured) -> Speed:
    """The measured values; what is not measured follows by the usual ratio of eager to compiled."""
    gain, eager, compiled = usual.eager_s / usual.compiled_s, measured.eager_s, measured.compiled_s
    if eager is None:
        eager = usual.eager_s if compiled is None else compiled * gain
    compiled = eager / gain if compiled is None else compiled
    return Speed(eager, compiled, usual.compile_s if measured.compile_s is None else measured.compile_s)


# Batch size ----------------------------------------------------------------------------------------------------------


def settle(found: Checked, store: Store, engine: Engine, run: RunInfo) -> tuple[RunInfo, Engine]:
    """Both with a number in the place of `auto`: the run's, which is claimed; else what a probe on a worker finds.

    Once for a run, since the bytes of images depend on it. Of two calls at once that both probe, both take the number
    that was written first.
    """
    if engine.options.batch_size != AUTO:
        return run, engine
    if run.batch_size is None:
        run = settle_batch_size(store, _best_size(found, engine.device, lambda task: _on_worker(task, engine)))
    assert run.batch_size is not None
    return run, engine.with_batch_size(run.batch_size)


def settled_here(found: Checked, device: str) -> int:
    """The same without an engine or a run: what a probe in this process finds."""
    size = found.request.engine.batch_size
    return _best_size(found, device, _in_this_process) if size == AUTO else int(size)


def settled_for(model: InspectedModel, sampling: Sampling, device: str, options: EngineOptions) -> int:
    """The same of one model with these settings."""
    if options.batch_size != AUTO:
        return int(options.batch_size)
    return _in_this_process(ProbeTask(renderer_spec(model, device, _USUAL_BATCH_SIZE, options), sampling))


def settled_as(options: EngineOptions, run: RunInfo) -> EngineOptions:
    """With a run's own values in the place of `auto`."""
    size = run.batch_size or _USUAL_BATCH_SIZE if options.batch_size == AUTO else options.batch_size
    return replace(options, batch_size=size, compile=bool(run.compile) if options.compile == AUTO else options.compile)


def _best_size(found: Checked, device: str, probe: Callable[[ProbeTask], int]) -> int:
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
