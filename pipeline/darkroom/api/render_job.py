"""One rendering: which shards of which cells, on which engine, with its profile and its compiled code."""

import hashlib
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain, groupby

from darkroom.api.checking import Checked
from darkroom.api.engine import Counting, Engine, renderer_spec
from darkroom.api.evaluation import CheckedEvaluation
from darkroom.api.events import (
    Profiled,
    Progress,
    Rendered,
    RenderingEnded,
    RenderingStarted,
)
from darkroom.api.plug_ins import words_for
from darkroom.api.proving import limited
from darkroom.api.run import Run
from darkroom.api.sharing import Shared
from darkroom.api.speeds import SpeedKeeper
from darkroom.api.watching import watched
from darkroom.domain.certificates import Certificate
from darkroom.domain.identity import Cell, ModelIdentity, Shard, digest
from darkroom.domain.spans import Profile
from darkroom.engine.planning import num_shards, plan, shard_tasks
from darkroom.engine.profile import ProfileTotals
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import Event, Listener, ReadingPrompts, RenderedByOthers, ShardDone, ShardTask, Task
from darkroom.rendering.inspection import InspectedModel
from darkroom.rendering.renderer import Compiled, RendererSpec
from darkroom.runs.cells import CellInfo, read_cells
from darkroom.runs.compaction import Compactor
from darkroom.runs.drivers import Driver, spent
from darkroom.runs.files import PROFILE_PREFIX
from darkroom.runs.listing import ShardSet, committed_shards
from darkroom.runs.opening import shards_of
from darkroom.runs.reading import count_statuses
from darkroom.runs.run import RunInfo
from darkroom.storage.local import user_cache
from darkroom.storage.store import Store


@dataclass(frozen=True)
class RenderJob:
    """What is rendered where: a checked request, its run, and the engine that was started for it."""

    found: Checked
    info: RunInfo
    store: Store
    engine: Engine
    progress: Progress
    evaluation: CheckedEvaluation | None = None
    certificates: Mapping[ModelIdentity, Certificate] = field(default_factory=dict)  # of `found.models`
    first_rows: frozenset[int] | None = None  # of the shards to render; None: all

    @property
    def num_shards(self) -> int:
        """Of all cells."""
        each = num_shards(self.info.prompts.num_rows, self.info.shard_size)
        return len(self.found.cells) * (each if self.first_rows is None else len(self.first_rows))

    def committed(self) -> ShardSet:
        """Those of its shards that are there. Raises DarkroomError where there are shards of another run."""
        cells, found = self.found.cell_infos, shards_of(self.store, self.info)
        ours = (shard for shard in found if shard.cell_id in cells and self._has(shard.start))
        return ShardSet(self.info.shard_size, ours)

    def left(self) -> list[Shard]:
        """Those that are not there, in the order of `tasks`."""
        done = self.committed()
        return [shard for cells in self._by_model() for shard in self._shards(cells, done)]

    def unfinished(self) -> list[str]:
        """Cells of which shards are missing."""
        done = self.committed()
        each = self.num_shards // len(self.found.cells)
        return [cell_id for cell_id in self.found.cell_infos if done.count(cell_id) < each]

    def tasks(self, done: Container[Shard]) -> Iterator[Task]:
        """Model by model, so that a worker loads each once; then range by range, whose embeddings serve all cells."""
        for cells in self._by_model():
            for task in shard_tasks(self._shards(cells, done), cells, self.found.request.prompts.dataset.blocks):
                yield replace(task, rows=tuple(self.found.rows_in(task.rows, task.cell.cell_id)))

    def _by_model(self) -> Iterator[dict[str, Cell]]:
        """Cells of one model, by cell_id."""
        models = [model.identity for model in self.found.models]
        ordered = sorted(self.found.cells, key=lambda item: models.index(item.cell.model.base))
        for _, group in groupby(ordered, key=lambda item: item.cell.model.base):
            yield {item.cell.cell_id: item.cell for item in group}

    def _shards(self, cells: Mapping[str, Cell], done: Container[Shard]) -> Iterator[Shard]:
        """Of these cells, but for those that are done, which is asked as each shard's turn comes."""
        prompts = self.info.prompts
        shards = plan(prompts.num_rows, self.info.shard_size, list(cells), prompts.fingerprint, done)
        return filter(lambda shard: self._has(shard.start), shards)

    def worker(self, compiled: tuple[Compiled, ...] = ()) -> WorkerSpec:
        """`compiled`: see `WorkerSpec`."""
        device, options = self.engine.device, self.engine.options
        specs = (
            limited(spec, self.certificates.get(spec.model.identity))
            for spec in renderer_specs(self.found, self.engine)
        )
        extractors = self.evaluation.specs(device) if self.evaluation else ()
        return WorkerSpec(
            self.info,
            tuple(specs),
            self.found.store,
            extractors,
            options.batch_timeout_s,
            options.profile,
            compiled,
        )

    def opened(self) -> Run:
        return Run(self.store, self.info, read_cells(self.store))

    def model_settings(self, cells: Mapping[str, CellInfo]) -> dict[str, object]:
        """What a later command must say of models, as cells do not: that they are trusted, where they lie."""
        moved = {
            item.info.ref.repo_id
            for item in self.found.cells
            if item.info.ref.repo_id != cells[item.cell.cell_id].ref.repo_id
        }
        trusts = any(item.cell.model.trust_remote_code for item in self.found.cells)
        place: dict[str, object] = {"model.repo_id": moved.pop()} if len(moved) == 1 else {}
        words = words_for(item.info for item in self.found.cells)
        return place | ({"model.trust_remote_code": True} if trusts else {}) | dict(words)

    def _has(self, first_row: int) -> bool:
        return self.first_rows is None or first_row in self.first_rows


def renderer_specs(found: Checked, engine: Engine) -> list[RendererSpec]:
    """Of the models that are loaded, as they are asked for."""
    options = engine.options
    return [renderer_spec(model, engine.device, options.images_a_batch, options) for model in found.models]


def render_shards(job: RenderJob) -> Rendered:
    """Render what is not committed of the job's shards."""
    before = job.committed()
    left = job.num_shards - len(before)
    images_a_shard = (
        job.found.num_images / len(job.found.cells) / num_shards(job.info.prompts.num_rows, job.info.shard_size)
    )
    num_images = round(images_a_shard * left)
    job.progress(RenderingStarted(num_images, job.num_shards, len(before)))
    options = job.engine.options
    counting = Counting(job.progress, "rendering", num_images, options.price_per_hour)
    profile = RenderProfile(options.profile)
    compiled = CompiledCache(options.is_compiled, job.found.models, options.images_a_batch)
    if left:
        speeds = SpeedKeeper(renderer_specs(job.found, job.engine), job.found.scan.num_overriding)
        watching = watched(counting.meter, options, job.store, job.progress)
        driver, compactor = Driver(job.store, options.part_name, job.committed), Compactor(job.store)
        with driver, compactor, watching:
            shared = Shared(driver, job.num_shards, job.tasks, job.left, ShardSet(job.info.shard_size))
            tasks = _announced(profile.tasks(shared(before)), job.progress)
            tasks = _with_others(tasks, lambda: round(images_a_shard * shared.num_elsewhere), counting)
            listen = speeds.listener(compiled.listener(profile.listener(_compacting(compactor, counting))))
            job.engine.dispatcher(job.worker(compiled.get())).run(tasks, listen)
        speeds.keep()
    rendered = Rendered(
        summary=counting.summary,
        spent=counting.spent,
        spent_in_all=spent(job.store) if counting.spent else None,
        elapsed_s=counting.elapsed_s,
        num_missing=job.num_shards - len(job.committed()),
        earlier=count_statuses(job.store, (found for found in committed_shards(job.store) if found.shard in before)),
        num_models=len(job.found.models),
        num_cells=len(job.found.cells),
        store=job.found.store,
        model_settings=job.model_settings(read_cells(job.store)),
    )
    job.progress(RenderingEnded(rendered))
    profile.put(job.store, job.progress)
    return rendered


def _compacting(compactor: Compactor, listen: Listener) -> Listener:
    """Hears what `listen` hears, and hands it on."""

    def hear(event: Event) -> None:
        if isinstance(event, ShardDone) and isinstance(event.task, ShardTask) and event.report.is_first:
            compactor.add(event.task.shard, event.report.num_ok + event.report.num_failed)
        listen(event)

    return hear


def _announced(tasks: Iterator[Task], progress: Progress) -> Iterator[Task]:
    """Says when each shard's prompts begin and end to be read: a source far away may hold a whole job up."""
    while True:
        progress(ReadingPrompts(True))
        task = next(tasks, None)
        progress(ReadingPrompts(False))
        if task is None:
            return
        yield task


def _with_others(tasks: Iterator[Task], num_images: Callable[[], int], listen: Listener) -> Iterator[Task]:
    """The same tasks; `listen` hears of the images that other commands have rendered, when their number changes."""
    said = 0
    for task in chain(tasks, [None]):
        if (found := num_images()) != said:
            said = found
            listen(RenderedByOthers(found))
        if task is not None:
            yield task


# Listeners to the dispatcher ----------------------------------------------------------------------------------------


class RenderProfile:
    """`engine.profile`: adds up what workers and driver measured, and stores it beside the run. Nothing when off."""

    def __init__(self, is_on: bool) -> None:
        self._driver = Profile(is_on)
        self._totals = ProfileTotals()

    def tasks(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The same tasks, their reading measured."""
        while True:
            with self._driver.span("read"):
                task = next(tasks, None)
            if task is None:
                return
            yield task

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone):
                self._totals.add(event.worker, event.report.spans)
            listen(event)

        return hear

    def put(self, store: Store, progress: Progress) -> None:
        """Write the table and the trace; those of an earlier call are replaced."""
        if not self._driver.is_on:
            return
        self._totals.add("driver", self._driver.taken())
        table = self._totals.table()
        store.put(f"{PROFILE_PREFIX}stages.txt", table.encode(), "text/plain")
        store.put(f"{PROFILE_PREFIX}trace.json", self._totals.trace(), "application/json")
        progress(Profiled(table, store.describe(f"{PROFILE_PREFIX}trace.json")))


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
