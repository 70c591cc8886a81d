"""Numbered shards of an export written by workers on Ray, each shard as a task."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from time import perf_counter

from darkroom.api.engine import started
from darkroom.api.options import EngineOptions
from darkroom.domain.errors import DarkroomError, EndsRun, TryAgain, first_line
from darkroom.engine.tasks import AttemptFailed, Event, ExportTask, ShardDone, ShardReport, Task
from darkroom.exporting.dataset import ShardRows
from darkroom.exporting.writing import Done, ShardWriter
from darkroom.storage.store import Store


class ExportRefused(DarkroomError, EndsRun):
    """What one shard meets that a person has to mend, such as a damaged image."""


@dataclass(frozen=True, eq=False)
class ExportWorker:
    """Writes shards in the process of a worker."""

    writer: ShardWriter

    def __call__(self) -> "ExportWorker":
        return self

    def run_task(self, task: Task, attempt: int) -> ShardReport:
        assert isinstance(task, ExportTask)
        began = perf_counter()
        try:
            files = self.writer.write(task.rows, task.is_there)
        except DarkroomError as error:
            raise ExportRefused(str(error)) from None
        size = sum(file.size_bytes for file in files)
        return ShardReport(len(task.rows.table), 0, size, 0.0, perf_counter() - began, files=files)

    def close(self) -> None:
        """Nothing is kept between tasks."""


def on_ray(writer: ShardWriter, options: EngineOptions, shards: Iterator[tuple[ShardRows, bool]], done: Done) -> None:
    """Raises DarkroomError for what a person has to mend, and TryAgain for a shard that was given up."""
    given_up: list[AttemptFailed] = []
    seen: set[str] = set()  # workers whose shards lie where this process sees them

    def listen(event: Event) -> None:
        if isinstance(event, ShardDone):
            assert isinstance(event.task, ExportTask)
            if event.worker not in seen:
                _check_seen(writer.to, event.report.files[-1].key)
                seen.add(event.worker)
            done(event.task.is_there, list(event.report.files))
        elif isinstance(event, AttemptFailed) and event.final:
            given_up.append(event)

    with started(replace(options, device="cpu")) as engine:
        tasks = (ExportTask(f"shard {rows.number} of {rows.split}", rows, there) for rows, there in shards)
        engine.dispatcher(ExportWorker(writer)).run(tasks, listen)
    for failed in given_up[:1]:
        raise TryAgain(
            f"{len(given_up)} shards could not be written, the first one after {failed.attempt} tries "
            f"({first_line(ValueError(failed.reason))}); the same command goes on"
        )


def _check_seen(to: Store, key: str) -> None:
    if next(to.list(key), None) is None:
        raise DarkroomError(
            f"to={to.spec.uri}: a worker on another machine wrote into a folder of its own; give an address such as "
            "s3://bucket/prefix, or a folder that all machines share"
        )
