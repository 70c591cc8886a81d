"""What it costs that every batch has one shape: the short last batch padded, against rendered as it is."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from darkroom.bench.darkroom_run import MakeWorker, local_dispatcher, render_job
from darkroom.bench.figure import Figure, Reach, Setting, Timing, ratios
from darkroom.bench.work import BATCH_SIZE, Work, demo_work, requests
from darkroom.domain.requests import ImageRequest
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.worker import Worker
from darkroom.rendering.renderer import RenderedImage, Renderer, RendererSpec, load_renderer
from darkroom.storage.store import open_store

_SHARD_SIZE = 64  # engine.shard_size's default
_BATCHES = 37  # whole ones; and a short one at the end
_SHORT = 3  # images in that
_ONE_SHAPE, _FREE_SHAPES = "one shape", "free shapes"


class FreeShapes:
    """Renders batches in the shape that they have; holds the small model once for each."""

    def __init__(self, spec: RendererSpec) -> None:
        self._spec = spec
        self._by_size: dict[int, Renderer] = {}
        self.info = self._of(spec.batch_size).info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        return self._of(len(requests)).render(requests)

    def _of(self, size: int) -> Renderer:
        if size not in self._by_size:
            self._by_size[size] = load_renderer(replace(self._spec, batch_size=size))
        return self._by_size[size]


class InTurns:
    """Renders every batch both ways, one first and then the other, and keeps how long each has taken."""

    def __init__(self, ways: Mapping[str, Renderer]) -> None:
        self._ways = dict(ways)
        self.info = self._ways[_ONE_SHAPE].info
        self.seconds = dict.fromkeys(ways, 0.0)

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        images = {name: self._timed(name, requests) for name in self._ways}
        self._ways = dict(reversed(self._ways.items()))
        return images[_ONE_SHAPE]

    def _timed(self, name: str, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        started = time.perf_counter()
        images = self._ways[name].render(requests)
        self.seconds[name] += time.perf_counter() - started
        return images


def invariance_tax(setting: Setting) -> list[Figure]:
    """One worker in this process, both ways in turns: so small a difference would drown in the machine's drift."""
    num_images = setting.sized(_BATCHES, 2) * BATCH_SIZE + _SHORT
    work = replace(demo_work(setting, num_images), shard_size=_SHARD_SIZE)
    repeats = [_seconds(setting, work, repeat) for repeat in range(setting.num_repeats)]
    timings = {name: [Timing(num_images, each[name]) for each in repeats] for name in (_ONE_SHAPE, _FREE_SHAPES)}
    return [
        Figure(
            name="invariance_tax",
            what=f"time of {num_images} images, the last batch of {_SHORT} padded to {BATCH_SIZE}, over that without",
            unit="%",
            values=[100 * (ratio - 1) for ratio in ratios(timings[_FREE_SHAPES], timings[_ONE_SHAPE])],
            reach=Reach(3, at_least=False),
            timings=timings,
            settings=work.said,
        )
    ]


def _seconds(setting: Setting, work: Work, repeat: int) -> dict[str, float]:
    """In the renderers, new ones that are warm; what comes after them is the same."""
    ways = {_ONE_SHAPE: load_renderer(work.renderer), _FREE_SHAPES: FreeShapes(work.renderer)}
    warm = requests(replace(work, seed=1))[:BATCH_SIZE]  # other noise; both cache the first prompts' embeddings
    for way in ways.values():
        way.render(warm)
        way.render(warm[:_SHORT])
    renderer = InTurns(ways)

    def make(spec: WorkerSpec) -> MakeWorker:
        store = open_store(spec.store)
        return lambda: Worker(spec.run, lambda _: renderer, work.model.identity, store)

    render_job(work, setting.folder / f"turns-{repeat}", local_dispatcher, make)
    setting.say("  " + ", ".join(f"{name}: {seconds:.2f} s" for name, seconds in renderer.seconds.items()))
    return renderer.seconds
