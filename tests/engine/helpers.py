"""Runs of the paint renderer, and renderers that misbehave on purpose, for the tests of workers and dispatchers."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from darkroom.domain.identity import Cell
from darkroom.domain.records import ImageRequest
from darkroom.domain.settings import Sampling
from darkroom.engine.planning import plan, shard_tasks
from darkroom.engine.tasks import ShardTask
from darkroom.engine.worker import Worker
from darkroom.evaluation.extractor import Extractor
from darkroom.prompts.dataset import PromptDataset
from darkroom.prompts.opening import open_prompts
from darkroom.rendering.renderer import PaintRenderer, RenderedImage, Renderer, paint_model
from darkroom.runs import manifest
from darkroom.runs.layouts import CONTAINERS
from darkroom.runs.run import OutputInfo, PromptsInfo, RunInfo
from darkroom.storage.store import Store, StoreSpec, open_store

SAMPLING = Sampling("default", 5.0, 20, 16, 16)
CELL = Cell(paint_model().identity, SAMPLING)


def dataset(prompts: Sequence[str], **columns: Sequence) -> PromptDataset:
    return open_prompts(pa.table({"prompt": list(prompts), **columns}), name="test")


def run_info(
    prompts: PromptDataset, shard_size: int = 4, layout: str = "files", images: int = 1, image_format: str = "png"
) -> RunInfo:
    scan = prompts.scan(images)
    return RunInfo(
        prompts=PromptsInfo("test", scan.fingerprint, scan.num_rows),
        output=OutputInfo(layout, image_format, 95, own_columns=True if layout in CONTAINERS else None),
        seed=0,
        num_images_per_prompt=images,
        shard_size=shard_size,
    )


def tasks(run: RunInfo, prompts: PromptDataset, store: Store) -> Iterator[ShardTask]:
    committed = set(manifest.committed(store))
    shards = plan(run.prompts.num_rows, run.shard_size, [CELL.cell_id], run.prompts.fingerprint, committed)
    return shard_tasks(shards, {CELL.cell_id: CELL}, prompts.blocks)


def worker(run: RunInfo, renderer: Renderer, store: Store, extractors: Sequence[Extractor] = ()) -> Worker:
    return Worker(run, lambda _identity: renderer, CELL.model, store, (lambda: extractors) if extractors else None)


@dataclass
class Misbehaving:
    """Paints, but does what a prompt tells it to: fail alone, fail its batch, kill the process, wait."""

    batch_size: int = 4
    seconds_per_batch: float = 0.0
    flag: str | None = None  # a file: `once` misbehaves, and `wait` waits, only while it is absent

    def __post_init__(self) -> None:
        self._painter = PaintRenderer(self.batch_size, self.seconds_per_batch)
        self.info = self._painter.info

    def render(self, requests: Sequence[ImageRequest]) -> list[RenderedImage]:
        prompts = [request.prompt for request in requests]
        if any("kill always" in prompt for prompt in prompts) or self._first_time("kill once", prompts):
            os.kill(os.getpid(), signal.SIGKILL)
        if any("break the batch" in prompt for prompt in prompts):
            raise ValueError("this prompt breaks its batch")
        if any("wait" in prompt for prompt in prompts):
            self._wait()
        failing = [self._fails(prompt) for prompt in prompts]
        painted = self._painter.render(requests)
        return [
            RenderedImage(None, error="fails alone") if fails else image
            for fails, image in zip(failing, painted, strict=True)
        ]

    def _wait(self) -> None:
        """Until the flag is there; in vain for a minute at most."""
        deadline = time.monotonic() + 60
        while self.flag and not Path(self.flag).exists() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _fails(self, prompt: str) -> bool:
        return "fail alone" in prompt or self._first_time("fail once", [prompt])

    def _first_time(self, words: str, prompts: Sequence[str]) -> bool:
        if self.flag is None or not any(words in prompt for prompt in prompts):
            return False
        try:
            os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


@dataclass(frozen=True)
class MakeMisbehaving:
    """Makes a worker whose renderer misbehaves; travels to Ray's processes."""

    run: RunInfo
    store: StoreSpec
    options: dict = field(default_factory=dict)

    def __call__(self) -> Worker:
        return worker(self.run, Misbehaving(**self.options), open_store(self.store))
