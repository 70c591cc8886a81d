"""What it costs that every batch has one shape: the short last batch padded, against rendered as it is."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.bench import ours
from pipeline.bench.figure import Figure, Reach, Timing, ratios
from pipeline.bench.setting import Setting, alternated
from pipeline.bench.work import BATCH_SIZE, Work, demo_work, requests
from pipeline.domain.images import ImageRequest
from pipeline.rendering.loading import load_renderer
from pipeline.rendering.renderer import RenderedImage, Renderer
from pipeline.rendering.spec import RendererSpec
from pipeline.storage.opening import open_store
from pipeline.worker.spec import WorkerSpec
from pipeline.worker.worker import Worker

_SHARD_SIZE = 64  # engine.shard_size's default
_BATCHES = 37  # whole ones; and a short one at the end
_SHORT = 3  # images in that


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


def invariance_tax(setting: Setting) -> list[Figure]:
    """One worker in this process, from its being ready and warm to the last commit."""
    num_images = setting.sized(_BATCHES, 2) * BATCH_SIZE + _SHORT
    work = replace(demo_work(setting, num_images), shard_size=_SHARD_SIZE)
    timings = alternated(
        setting,
        {
            "one shape": lambda folder: _timing(work, folder, load_renderer(work.renderer)),
            "free shapes": lambda folder: _timing(work, folder, FreeShapes(work.renderer)),
        },
    )
    slower = ratios(timings["free shapes"], timings["one shape"])
    return [
        Figure(
            name="invariance_tax",
            what=f"time of {num_images} images in padded batches of one shape, over that in free shapes",
            unit="%",
            values=[100 * (ratio - 1) for ratio in slower],
            reach=Reach(3, at_least=False),
            timings=timings,
            settings=work.said,
        )
    ]


def _timing(work: Work, folder: Path, renderer: Renderer) -> Timing:
    warm = requests(replace(work, seed=1))[: work.batch_size]  # other noise; the prompts' embeddings are kept by both
    renderer.render(warm)
    renderer.render(warm[: work.num_images % work.batch_size])

    def make(spec: WorkerSpec) -> ours.MakeWorker:
        store = open_store(spec.store)
        return lambda: Worker(spec.run, lambda _: renderer, work.model.identity, store)

    clock = ours.rendered(work, folder, ours.on_one, make)
    return Timing(work.num_images, max(each.at_s for each in clock.commits) - min(clock.ready_at.values()))
