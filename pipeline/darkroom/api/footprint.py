"""What a rendering takes: of the device's memory, with the settings by which a model would fit, the cheapest first; and
of its store, in objects and requests: what stores charge for, and what makes a run slow to list, to read and to remove.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from darkroom.api.checking import Checked
from darkroom.api.engine import num_workers_here, renderer_spec
from darkroom.api.options import EngineOptions
from darkroom.domain.errors import DarkroomError
from darkroom.domain.progress import readable_bytes
from darkroom.domain.settings import FLOAT8, QUANTIZATIONS, Sampling
from darkroom.engine.planning import num_shards
from darkroom.rendering.backends import TORCH
from darkroom.rendering.description import SIZE
from darkroom.rendering.memory import Held, ModelMemory, model_memory, taken_bytes, total_bytes
from darkroom.rendering.renderer import RendererSpec
from darkroom.runs.layouts import CONTAINERS

_COUNTED = (*SIZE, "guidance_scale")  # settings of which more takes more
MANY_OBJECTS = 100_000
_A_PAGE = 1000  # objects of one request that lists
_LISTINGS = 4  # of all manifests, by one command
_FIXED = 70  # requests of any command: probes, the run's own files, its driver's, those that the contact sheet shows


@dataclass(frozen=True)
class Memory:
    """What a worker needs of the device's memory, in bytes."""

    weights: Mapping[str, int]  # of each component, as loaded
    num_bytes: int  # all that a worker takes at most
    is_measured: bool  # in real calls; else by tracing shapes, without libraries' workspaces
    total: int  # of the device
    num_workers: int = 1  # that share it
    remedies: tuple[str, ...] = field(default=())  # settings that make it fit where it does not; empty: none does

    @property
    def fits(self) -> bool:
        return self.num_bytes * self.num_workers <= self.total

    @property
    def text(self) -> str:
        """For people."""
        parts = ", ".join(f"{name} {readable_bytes(size)}" for name, size in self.weights.items())
        workers = f" for each of {self.num_workers} workers" if self.num_workers > 1 else ""
        how = "measured" if self.is_measured else "estimated"
        needed, whole, loaded = map(readable_bytes, (self.num_bytes, self.total, sum(self.weights.values())))
        return f"about {needed}{workers}, {how}, of {whole}; weights {loaded} ({parts})"

    @property
    def advice(self) -> str:
        """What to do where it does not fit."""
        if self.remedies:
            return f"it would fit with {' '.join(self.remedies)}"
        if self.is_measured:
            return "smaller batches or images, model.dtype=bfloat16 and model.vae_tiling=true take less"
        return "no setting makes it fit; use a device with more memory, or smaller images"


def estimated(found: Checked, spec: RendererSpec) -> Memory | None:
    """Of the largest size and the most guidance of any cell and row of this model, with the cache that takes most,
    before anything is loaded; None where the weights or the device are not of this machine."""
    cells = [item.cell.sampling for item in found.cells if item.cell.model.base == spec.model.identity]
    most: dict[str, Any] = {
        name: max(found.scan.highest.get(name, 0), *(getattr(each, name) for each in cells)) for name in _COUNTED
    }
    most |= {name: int(most[name]) for name in SIZE}
    caches = {each.cache: replace(each, **most) for each in cells}
    memories = [_memory(spec, found.request.engine, each) for each in caches.values()]
    return max(filter(None, memories), key=lambda each: each.num_bytes, default=None)


def measured(memory: Memory, num_bytes: int) -> Memory:
    """The same with what was measured of one worker."""
    fitting = memory.total // num_bytes
    fewer = (f"engine.num_workers={fitting}",) if fitting < memory.num_workers else ()
    return replace(memory, num_bytes=num_bytes, is_measured=True, remedies=fewer if fitting else memory.remedies)


def check_weights(found: Checked, device: str) -> int | None:
    """Bytes of the largest model's weights, as they are loaded; None where they or the device are not of this machine.

    Raises DarkroomError where the weights alone are more than there is.
    """
    engine, sizes = found.request.engine, []
    size = engine.batch_size if isinstance(engine.batch_size, int) else 1
    for model in found.models:
        spec = renderer_spec(model, device, size, engine)
        memory = _memory(spec, engine, None)
        if memory and memory.num_bytes > memory.total:
            full = _memory(spec, engine, found.cells[0].cell.sampling) or memory
            raise DarkroomError(f"{model.identity.repo_id} does not fit into memory: {full.text}; {full.advice}")
        sizes += [sum(memory.weights.values())] if memory else []
    return max(sizes, default=None)


def _memory(spec: RendererSpec, engine: EngineOptions, sampling: Sampling | None) -> Memory | None:
    """Without settings, of weights alone, and without what is taken by others: a job's driver stays off the device."""
    total = None if engine.cluster_address else total_bytes(spec.device)
    memory = None if total is None else model_memory(spec.model, sampling)
    if memory is None or total is None:
        return None
    held, num_workers = held_as(spec), num_workers_here(engine, spec.device)
    base = taken_bytes(spec.device) if sampling else 0
    return Memory(
        weights=memory.weights(held),
        num_bytes=base + memory.on_device(held),
        is_measured=False,
        total=total,
        num_workers=num_workers,
        remedies=tuple(remedies_of(memory, held, base, total, num_workers, spec.device, _stays(spec, engine))),
    )


def held_as(spec: RendererSpec) -> Held:
    identity = spec.model.identity
    return Held(
        dtype=identity.dtype,
        batch_size=spec.batch_size,
        quantization=identity.quantization,
        vae_tiling=identity.vae_tiling,
        vae_slicing="vae_slicing" in spec.model.execution,
        offload=spec.offload,
        backend=spec.backend,
    )


def _stays(spec: RendererSpec, engine: EngineOptions) -> bool:
    """Whether weights cannot be offloaded: those of compiled code, and of two models in turn."""
    return engine.compile is True or spec.model.identity.refiner is not None


# What would make it fit ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Change:
    """One setting: its words, and what it makes of how a model is held."""

    words: str
    values: Mapping[str, object]
    on_gpu: bool = False  # only there it acts


# The cheapest first: what keeps images, then what trades a little quality, then what is very slow.
_CHANGES = (
    _Change(f"engine.backend={TORCH}", {"backend": TORCH}),
    _Change("model.vae_slicing=true", {"vae_slicing": True}),
    _Change("engine.batch_size=1", {"batch_size": 1}),
    _Change("model.offload=model", {"offload": "model"}, on_gpu=True),
    _Change("model.offload=group", {"offload": "group"}, on_gpu=True),
    _Change("model.dtype=bfloat16", {"dtype": "bfloat16"}),
    _Change("model.vae_tiling=true", {"vae_tiling": True}),
    _Change(f"model.quantization={QUANTIZATIONS[0]}", {"quantization": QUANTIZATIONS[0]}),
    _Change("model.offload=sequential", {"offload": "sequential"}, on_gpu=True),
)


def remedies_of(
    memory: ModelMemory, held: Held, base: int, total: int, num_workers: int, device: str, stays: bool = False
) -> Iterator[str]:
    """Nothing where it fits. Fewer workers come first: each that is left is as fast as it was."""
    fitting = total // (base + memory.on_device(held))
    if fitting >= num_workers:
        return
    if fitting:
        yield f"engine.num_workers={fitting}"
        return

    def fits(changes: Sequence[_Change]) -> bool:
        return base + memory.on_device(_changed(held, changes)) <= total

    changes = _fewest(_allowed(held, device, stays), fits)
    workers = ["engine.num_workers=1"] if changes and num_workers > 1 else []
    yield from (*workers, *(each.words for each in changes))


def _allowed(held: Held, device: str, stays: bool) -> list[_Change]:
    """Those that act on the device, and that can be given beside what is asked for."""
    clashing = {"quantization"} if held.dtype == FLOAT8 else set[str]()
    clashing |= {"offload"} if stays else set()
    return [each for each in _CHANGES if (device == "cuda" or not each.on_gpu) and not clashing & each.values.keys()]


def _changed(held: Held, changes: Sequence[_Change]) -> Held:
    for change in changes:
        held = replace(held, **change.values)  # type: ignore[arg-type]
    return held


def _fewest(changes: Sequence[_Change], fits: Callable[[Sequence[_Change]], bool]) -> Sequence[_Change]:
    """The shortest beginning that fits, without what it can do without, the dearest first; empty where all do not."""
    chosen = next((changes[:count] for count in range(1, len(changes) + 1) if fits(changes[:count])), ())
    for change in reversed(chosen):
        others = [each for each in chosen if each is not change]
        if fits(others):
            chosen = others
    return chosen


# Store ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Footprint:
    """Of a run of one cell, once it is finished."""

    num_rows: int
    num_images: int
    shard_size: int
    layout: str
    num_extractors: int = 0  # whose features are made as images are rendered
    signs: bool = False  # each image has a signed manifest

    @property
    def num_shards(self) -> int:
        return num_shards(self.num_rows, self.shard_size)

    @property
    def num_image_objects(self) -> int:
        """Images, or a container a shard; and as many of signed manifests."""
        return (self.num_shards if self.layout in CONTAINERS else self.num_images) * (1 + self.signs)

    @property
    def num_objects(self) -> int:
        """With a manifest a shard, and its features by each extractor."""
        return self.num_image_objects + self.num_shards * (1 + self.num_extractors)

    @property
    def num_requests(self) -> int:
        """Of one command that is not disturbed: a put an object, and listings."""
        return self.num_objects + _LISTINGS * math.ceil(self.num_shards / _A_PAGE) + _FIXED

    @property
    def advice(self) -> str:
        """What makes fewer objects, where there are many; else empty."""
        if self.num_objects <= MANY_OBJECTS:
            return ""
        remedies, each = [], 2 + self.signs + self.num_extractors
        num_shards = self.num_shards
        if self.layout not in CONTAINERS:
            remedies.append(f"output.layout={' or '.join(CONTAINERS)}")
        if num_shards * each > MANY_OBJECTS:
            size = math.ceil(self.num_rows * each / MANY_OBJECTS)
            num_shards = math.ceil(self.num_rows / size)
            remedies.append(f"engine.shard_size={size}")
        return (
            f"{self.num_objects:,} objects are many to store, list and read; {' with '.join(remedies)} makes "
            f"{num_shards * each:,}"
        )


def footprint(found: Checked, shard_size: int) -> Footprint:
    request = found.request
    extractors = request.evaluation.extractors if request.evaluation else ()
    signs, layout = request.signing is not None, request.output.layout
    return Footprint(found.scan.num_rows, found.num_images, shard_size, layout, len(extractors), signs)
