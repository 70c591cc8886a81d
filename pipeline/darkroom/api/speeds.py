"""How fast models render, as plans and runs measured it: kept in the user's cache, for choices of later ones.

By all that it depends on: the model, how it is held, the kind of device, the batch size, the size of images, the steps
and the versions. Of GPUs alone, since nothing is chosen by it elsewhere.
"""

import json
from collections import defaultdict
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version

from darkroom.api.engine import device_model
from darkroom.domain.identity import Cell, digest
from darkroom.domain.settings import Sampling
from darkroom.engine.tasks import Event, Listener, ShardDone, ShardReport, ShardTask
from darkroom.rendering.renderer import RendererSpec
from darkroom.runs.certificates import model_key
from darkroom.runs.files import from_json, to_json
from darkroom.storage.local import user_cache
from darkroom.storage.store import NotFound

_CACHE = "speeds"
_MEASURED_ON = ("cuda",)
_SHAPING = frozenset({"height", "width", "num_inference_steps", "guidance_scale"})


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
    shape = sampling.height, sampling.width, sampling.num_inference_steps, sampling.is_guided, sampling.lossy
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
            if isinstance(event, ShardDone) and isinstance(event.task, ShardTask) and event.report.num_ok:
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
                seconds = sum(each.render_s for each in others) / sum(each.num_ok for each in others)
                keep_speed(spec, cell.sampling, seconds, first.render_s - seconds * first.num_ok)
