"""One rendering: which shards of which cells, on which engine, shared with the other drivers of its run.

Each driver of a run renders its share first, and then helps with what is left of the others'. What two of them render
at once is committed by the first, so nobody waits for a driver that may be dead.
"""

from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, groupby

import numpy as np

from darkroom.api.checking import Checked
from darkroom.api.compiling import CompiledCache
from darkroom.api.engine import Counting, Engine, renderer_spec
from darkroom.api.evaluation import CheckedEvaluation
from darkroom.api.events import Profiled, Progress, Rendered, RenderingEnded, RenderingStarted
from darkroom.api.growing import run_rows
from darkroom.api.picture_checks import pictures_of
from darkroom.api.plug_ins import words_for
from darkroom.api.policies import CheckedPolicy
from darkroom.api.proving import limited
from darkroom.api.run import Run
from darkroom.api.speeds import SpeedKeeper
from darkroom.api.watching import watched
from darkroom.domain.certificates import Certificate
from darkroom.domain.identity import Cell, ModelIdentity, Shard
from darkroom.engine.planning import plan, shard_tasks
from darkroom.engine.profile import RenderProfile
from darkroom.engine.spec import WorkerSpec
from darkroom.engine.tasks import Event, Listener, ReadingPrompts, RenderedByOthers, ShardDone, ShardTask, Task
from darkroom.prompts.dataset import PromptBlock
from darkroom.rendering.renderer import Compiled, RendererSpec
from darkroom.runs.cells import CellInfo, read_cells
from darkroom.runs.compaction import Compactor
from darkroom.runs.drivers import Driver, spent
from darkroom.runs.listing import ShardSet, committed_shards
from darkroom.runs.opening import shards_of
from darkroom.runs.reading import count_statuses
from darkroom.runs.run import RunInfo
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
    order: np.ndarray | None = None  # of the dataset's rows, as the run has them; None: they are in their places
    policy: CheckedPolicy | None = None

    def blocks(self, start: int) -> Iterator[PromptBlock]:
        """The run's rows as its shards number them, from `start` on."""
        return run_rows(self.found.request.prompts.dataset, self.order, self.info, start)

    @property
    def num_shards(self) -> int:
        """Of all cells."""
        each = self.info.num_shards if self.first_rows is None else len(self.first_rows)
        return len(self.found.cells) * each

    @property
    def num_rows(self) -> int:
        """Of all cells; shards of a run that grew are not all as long as others."""
        return len(self.found.cells) * sum(
            min(self.info.shard_size, part.stop - start)
            for part in self.info.parts
            for start in range(part.start, part.stop, self.info.shard_size)
            if self._has(start)
        )

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
            for task in shard_tasks(self._shards(cells, done), cells, self.blocks):
                yield replace(task, rows=tuple(self.found.rows_in(task.rows, task.cell.cell_id)))

    def _by_model(self) -> Iterator[dict[str, Cell]]:
        """Cells of one model, by cell_id."""
        models = [model.identity for model in self.found.models]
        ordered = sorted(self.found.cells, key=lambda item: models.index(item.cell.model.base))
        for _, group in groupby(ordered, key=lambda item: item.cell.model.base):
            yield {item.cell.cell_id: item.cell for item in group}

    def _shards(self, cells: Mapping[str, Cell], done: Container[Shard]) -> Iterator[Shard]:
        """Of these cells, but for those that are done, which is asked as each shard's turn comes."""
        size, ids = self.info.shard_size, list(cells)
        shards = (plan(part.num_rows, size, ids, part.fingerprint, done, part.start) for part in self.info.parts)
        return filter(lambda shard: self._has(shard.start), chain.from_iterable(shards))

    def worker(self, compiled: tuple[Compiled, ...] = ()) -> WorkerSpec:
        """`compiled`: see `WorkerSpec`."""
        device, options = self.engine.device, self.engine.options
        specs = tuple(
            limited(spec, self.certificates.get(spec.model.identity))
            for spec in renderer_specs(self.found, self.engine)
        )
        looking = self.evaluation or self.policy
        extractors = looking.specs(device) if looking else ()
        return WorkerSpec(
            self.info,
            specs,
            self.found.store,
            extractors,
            options.batch_timeout_s,
            options.profile,
            compiled,
            signing=self.found.request.signing,
            pictures=pictures_of(self.found.pictures, self.found.store, specs),
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
        """Not so of rows that the run was grown by since this job began."""
        is_of_job = self.first_rows is None or first_row in self.first_rows
        return is_of_job and first_row < self.info.parts[-1].stop


def renderer_specs(found: Checked, engine: Engine) -> list[RendererSpec]:
    """Of the models that are loaded, as they are asked for."""
    options = engine.options
    return [renderer_spec(model, engine.device, options.images_a_batch, options) for model in found.models]


def render_shards(job: RenderJob) -> Rendered:
    """Render what is not committed of the job's shards."""
    before = job.committed()
    left = job.num_shards - len(before)
    images_a_row = job.found.num_images / len(job.found.cells) / job.info.prompts.num_rows
    images_a_shard = images_a_row * job.num_rows / job.num_shards
    num_images = round(images_a_row * (job.num_rows - before.num_rows))
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
    if profiled := profile.put(job.store):
        job.progress(Profiled(*profiled))
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


# Other drivers -------------------------------------------------------------------------------------------------------


@dataclass
class Shared:
    """The tasks of one driver, found as they are asked for."""

    driver: Driver
    num_shards: int  # of the job
    tasks: Callable[[Container[Shard]], Iterator[Task]]  # of all shards but these
    left: Callable[[], Sequence[Shard]]  # shards that are not committed now, in the order of `tasks`
    given: ShardSet  # to this driver: none yet
    num_elsewhere: int = 0  # shards that others are known to have committed since this driver began

    def __call__(self, committed: ShardSet) -> Iterator[Task]:
        """`committed`: as they were a moment ago."""
        own = self.tasks(_Skipped(lambda shard: shard in committed or not self.driver.owns(shard)))
        yield from self._counted(self._given(own), committed)
        while others := self._others(committed):
            # The latter half: their own drivers begin at the front. Of two that help, each takes others first.
            latter = others[len(others) // 2 :]
            chosen = frozenset(filter(self.driver.helps, latter)) or frozenset(latter)
            yield from self._given(self.tasks(_Skipped(lambda shard: shard not in chosen)))  # noqa: B023

    def _given(self, tasks: Iterator[Task]) -> Iterator[Task]:
        for task in tasks:
            assert isinstance(task, ShardTask)
            self.given.add(task.shard)
            yield task

    def _counted(self, tasks: Iterator[Task], committed: ShardSet) -> Iterator[Task]:
        """The same; what others commit is counted anew whenever the driver has asked."""
        done = self.driver.done
        for task in tasks:
            if self.driver.done is not done:
                done = self.driver.done
                self.num_elsewhere = done.num_outside(self.given, committed)
            yield task

    def _others(self, committed: ShardSet) -> list[Shard]:
        """Shards that are left and were not given to this driver."""
        others = [shard for shard in self.left() if shard not in self.given]
        self.num_elsewhere = self.num_shards - len(committed) - len(self.given) - len(others)
        return others


@dataclass(frozen=True)
class _Skipped(Container[Shard]):
    """Shards for which this holds when it is asked."""

    holds: Callable[[Shard], bool]

    def __contains__(self, shard: object) -> bool:
        assert isinstance(shard, Shard)
        return self.holds(shard)
