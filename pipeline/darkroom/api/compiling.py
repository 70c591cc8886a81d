"""What `engine.compile=auto` means: compiled where the images that a worker renders repay the first calls; and what
torch.compile made, which workers of later runs begin with.

Decided once, before a run begins, by the driver; the run keeps it, since compiling moves low bits. A device that is no
GPU renders uncompiled.
"""

import hashlib
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace

from darkroom.api.cells import CheckedCell
from darkroom.api.checking import Checked
from darkroom.api.options import AUTO, EngineOptions
from darkroom.api.proving import cached_proof, is_testable
from darkroom.api.speeds import Speed, measured_speed, speed_of, usual_speed
from darkroom.domain.identity import digest
from darkroom.domain.process import lacks_for_compiling
from darkroom.domain.settings import NONE, Sampling
from darkroom.engine.tasks import Event, Listener, ShardDone
from darkroom.rendering.inspected_model import InspectedModel
from darkroom.rendering.renderer import Compiled, RendererSpec
from darkroom.runs.run import RunInfo
from darkroom.storage.local import user_cache

_MARGIN = 2  # compiling has to save so many times what it costs: neither is known well


@dataclass(frozen=True)
class Compiling:
    """Whether models are compiled, and why."""

    is_on: bool
    reason: str = ""  # empty where nothing had to be decided

    @property
    def text(self) -> str:
        """For people; empty where nothing had to be decided."""
        return f"compile: {'on' if self.is_on else 'off'}, {self.reason}" if self.reason else ""


def decided(num_images: int, num_workers: int, num_shapes: int, speed: Speed) -> Compiling:
    """On where it saves a worker twice what it costs it. `num_shapes`: calls of other shapes, each compiled anew."""
    saved_s = num_images / num_workers * (speed.eager_s - speed.compiled_s)
    cost_s = num_shapes * speed.compile_s
    images = f"{num_images:,} images" + (f" on {num_workers} workers" if num_workers > 1 else "")
    if saved_s >= _MARGIN * cost_s:
        return Compiling(True, f"{images} repay about {cost_s:.0f} s")
    return Compiling(False, f"{images} would save {max(saved_s, 0):.0f} s and cost about {cost_s:.0f} s")


# What is decided of a request -----------------------------------------------------------------------------------------


def chosen(found: Checked, engine: EngineOptions, device: str, num_workers: int, run: RunInfo | None) -> Compiling:
    """What the request asks for, what its `run` was begun with, or what is worth it for a run that is none yet."""
    if engine.compile != AUTO:
        return Compiling(bool(engine.compile))
    if run is not None:  # one that is older than this choice was compiled only where its command said so
        return Compiling(bool(run.compile), "as this run began" if run.compile else "")
    if device != "cuda" or not all(is_testable(model) for model in found.models):
        return Compiling(False)
    if fault := _fault(found):
        return Compiling(False, fault)
    choice = decided(
        _num_images(found) // engine.part_of[1], num_workers, num_shapes(found), _speed(found.cells[0], engine, device)
    )
    unproved = _unproved(found, engine, device) if choice.is_on else ""
    return Compiling(False, unproved) if unproved else choice


def _speed(item: CheckedCell, engine: EngineOptions, device: str) -> Speed:
    usual = usual_speed(item.model.identity.pipeline_class, item.cell.sampling)
    if engine.batch_size == AUTO:  # and not settled yet
        return usual
    return speed_of(usual, measured_speed(RendererSpec(item.model, device, engine.images_a_batch), item.cell.sampling))


def _fault(found: Checked) -> str:
    """Why a model is not compiled unless it is asked for; empty where nothing is against it."""
    if {"height", "width"} & found.scan.num_overriding.keys():
        return "rows have sizes of their own, each of which would be compiled"
    for model in found.models:
        if "offload" in model.execution:
            return f"model.offload={model.execution['offload']} moves weights"
        if model.identity.quantization != NONE:
            return f"model.quantization={model.identity.quantization} was not seen compiled yet"
    if any(item.cell.sampling.cache != NONE for item in found.cells):
        return "sampling.cache changes layers for each call"
    if any(item.cell.model.loras for item in found.cells):
        return "LoRAs are switched, each of which would be compiled"
    missing = lacks_for_compiling()
    return f"this machine lacks {missing}" if missing else ""


def _num_images(found: Checked) -> int:
    """That are rendered for certain: of an early choice among cells, those of its first round."""
    halving = found.request.halving
    return min(found.num_images, len(found.cells) * halving.num_images) if halving else found.num_images


def num_shapes(found: Checked) -> int:
    """Calls that are compiled, one by one: of each model, size, number of rows and layers that are computed."""
    shapes = {(item.cell.model.base, *_shape(item.cell.sampling)): item.cell.sampling for item in found.cells}
    rows = 2 if "guidance_scale" in found.scan.num_overriding else 1
    return rows * sum(_num_kinds(sampling) for sampling in shapes.values())


def _shape(sampling: Sampling) -> Collection[object]:
    return (
        sampling.height,
        sampling.width,
        sampling.is_guided,
        sampling.is_partly_guided,
        sampling.cache_interval > 1,
        bool(sampling.freeu),
    )


def _num_kinds(sampling: Sampling) -> int:
    """Of one cell's calls of its denoiser: with and without guidance; whole, filling a cache and using one."""
    return (2 if sampling.is_partly_guided else 1) * (3 if sampling.cache_interval > 1 else 1)


def _unproved(found: Checked, engine: EngineOptions, device: str) -> str:
    """Why certificates are against compiling: what holds without it is not known of compiled code."""
    if engine.proof == "off" or engine.batch_size == AUTO:
        return ""
    for item in found.cells:
        eager = RendererSpec(item.model, device, engine.images_a_batch)
        if cached_proof(replace(eager, compile=True), item.cell):
            continue
        if engine.proof != "adapt":
            return f"no certificate of compiled code is kept, and engine.proof={engine.proof}"
        proof = cached_proof(eager, item.cell)
        if proof and not (proof.certificate.may_mix and proof.certificate.may_batch):
            return "images were seen to depend on each other, and compiled code was not tested"
    return ""


# What was compiled ---------------------------------------------------------------------------------------------------


class CompiledCache:
    """What torch.compile made, stored in this user's cache: workers of later runs begin with it, on whatever node.

    It goes from a worker to the driver and from the driver to workers, and never through the run's store: it holds
    pickled objects, and whoever may write images need not be somebody whose code is run. Does nothing when off; what is
    lost is compiled anew.
    """

    def __init__(self, is_on: bool, models: list[InspectedModel], batch_size: int) -> None:
        self._is_on = is_on
        self._cache = user_cache("compiled")
        named = [(model.identity.revision, model.identity.dtype) for model in models]
        lossy = [found] if any(found := [model.identity.lossy for model in models]) else []
        self._key = digest("compiled", named, batch_size, *lossy)

    def get(self) -> tuple[Compiled, ...]:
        """What earlier runs of the same models made, on any kind of machine."""
        found: list[Compiled] = []
        with suppress(OSError):
            for info in self._cache.list(f"{self._key}/") if self._is_on else ():
                found.append(Compiled(info.key.split("/")[1], self._cache.get(info.key)))
        return tuple(found)

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone) and event.report.compiled:
                self._put(event.report.compiled)
            listen(event)

        return hear

    def _put(self, compiled: Compiled) -> None:
        with suppress(OSError):
            name = hashlib.sha256(compiled.data).hexdigest()[:16]
            self._cache.put(f"{self._key}/{compiled.machine}/{name}", compiled.data)
