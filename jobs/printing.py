"""What a person reads while a job works, and at its end: all that jobs print of the events and results of the API."""

import sys
import time
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom.api import events
from darkroom.api.measuring import EvaluationResult
from darkroom.api.rendering import RenderResult
from darkroom.dispatch.events import AttemptFailed, Event, ShardDone, Summary, WorkerLost, WorkerReady, WorkersPending
from darkroom.domain.records import FAILED, INVALID
from darkroom.jobs.exits import ExitCode, most_urgent
from darkroom.runs.cells import axes
from darkroom.runs.commands import on_run
from darkroom.worker.tasks import task_name

_LINE_EVERY_S = 10.0


class Printer:
    """Prints each event that it is called with; a context, which ends with the bar taken down."""

    def __init__(self) -> None:
        self._place = ""
        self._bar: ProgressBar | None = None

    def __enter__(self) -> "Printer":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._take_down()

    def __call__(self, event: Any) -> None:
        if isinstance(event, Event):
            if self._bar:
                self._bar.listen(event)
            return
        say = _SAY.get(type(event))
        if say:
            say(event)
            return
        match event:
            case events.Prepared():
                self._place = event.place
                _say_prepared(event)
            case events.RenderingStarted():
                if event.num_committed:
                    left = event.num_shards - event.num_committed
                    _say(f"{event.num_committed} of {event.num_shards} shards are committed already; {left} are left")
                self._put_up(event.num_images, "rendering")
            case events.FeaturesStarted():
                _say(f"{event.num_shards} shards to score with {', '.join(event.extractors)}")
                self._put_up(event.num_images, "scoring")
            case events.RetryStarted():
                _say(f"{event.num_images} failed records in {event.num_shards} shards")
                self._put_up(event.num_images, "rendering")
            case events.RenderingEnded():
                self._take_down()
                _say_rendered(event.rendered)
            case events.StageEnded():
                self._take_down()

    def stopped(self, how: str) -> None:
        """What became of shards that were being rendered when the job was interrupted or its store failed."""
        if self._bar and self._bar.verb == "rendering":
            num_shards = self._bar.summary.num_shards
            self._take_down()
            _say(
                f"\n{how}: {num_shards} shards were committed by this start, and nothing half done is visible in "
                f"{self._place}"
            )

    def _put_up(self, num_images: int, verb: str) -> None:
        self._take_down()
        self._bar = ProgressBar(num_images, verb)

    def _take_down(self) -> None:
        if self._bar:
            self._bar.close()
        self._bar = None


def _say(text: str) -> None:
    print(text, flush=True)


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


# Events ------------------------------------------------------------------------------------------------------------


def _say_prepared(event: events.Prepared) -> None:
    overriding = f"; rows override {event.overriding}" if event.overriding else ""
    if event.is_sweep:
        cells = len(event.cells)
        print(
            f"{event.num_images * cells} images: {cells} cells of {event.num_rows} prompts ({event.prompts}), the same "
            f"noise in each{overriding}"
        )
        for name, values in axes(event.cells.values()).items():
            print(f"  {name}: {', '.join(str(value) for value in values)}")
    else:
        [info] = event.cells.values()
        sampling = info.cell.sampling
        print(
            f"{event.num_images} images from {event.num_rows} prompts ({event.prompts}) with {info.ref.repo_id}: "
            f"{sampling.num_inference_steps} steps of {sampling.scheduler}, guidance {sampling.guidance_scale:g}, "
            f"{sampling.width}x{sampling.height}{overriding}"
        )
    _say(f"into {event.place}, on {event.num_workers} worker(s), {event.device}")
    if event.ignored_shard_size is not None:
        print(f"engine.shard_size={event.ignored_shard_size} is ignored: this run has {event.shard_size}")


def _say_rendered(found: events.Rendered) -> None:
    summary = found.summary
    rate = summary.num_ok / max(found.elapsed_s, 1e-9)
    print(f"\n{summary.num_ok} images rendered in {found.elapsed_s:.0f} s ({rate:.1f} images/s)")
    if summary.num_loads:
        print(f"{summary.num_loads} model load(s), for {found.num_models} model(s) and {found.num_cells} cell(s)")
    say_failures(summary)
    if found.earlier[FAILED]:
        print(f"{found.earlier[FAILED]} images had failed in earlier starts; to render them again:")
        print(f"  {on_run('retry', found.store, **found.model_settings)}")
    if found.earlier[INVALID]:
        print(f"{found.earlier[INVALID]} prompt rows were invalid in earlier starts; their records say why")
    if found.num_missing:
        print(f"{found.num_missing} shards are missing: the same command tries them again")


def _say_written(event: events.RunWritten) -> None:
    if event.contact_sheet:
        print(f"contact sheet: {event.contact_sheet}")
    print(f"output:        {event.place}")
    following = on_run("report", event.store) if event.is_evaluated else None
    _say(f"next:          {following or on_run('verify', event.store, **event.model_settings)}")


def _say_round(event: events.RoundStarted) -> None:
    if event.number == event.num_rounds:
        _say(f"\nlast round: {event.num_cells} cells to their end")
    else:
        _say(
            f"\nround {event.number} of {event.num_rounds}: {event.num_cells} cells, {event.num_shards} shards of each"
        )


def _say_dropped(event: events.CellDropped) -> None:
    item = event.dropped
    print(f"dropped: cell {item.cell_id}, {item.figure} {item.value:.4g}, rank {item.rank} of {item.num_cells}")


def _say_not_shown(event: events.NotOnContactSheet) -> None:
    checking = on_run("verify", event.store, stored=True)
    print(f"not on the contact sheet: image {event.image_id} ({event.place}): {event.reason}; see `{checking}`")


def _say_left_out(event: events.ImagesLeftOut) -> None:
    more = f" ({event.num_unnamed} are not named here)" if event.num_unnamed else ""
    _say(f"{event.num_images} images have no features and count in no figure{more}")


def say_failures(summary: Summary) -> None:
    """What a dispatcher's work came to besides images."""
    if summary.num_failed:
        print(f"{summary.num_failed} images failed; their records say why:")
        for error in summary.errors:
            print(f"  {error}")
    for change in sorted(summary.resized):
        print(f"warning: the model changed the size of images, {change}; their records and files say what they have")
    for task, reason in summary.failed_shards:
        print(f"not committed: {task_name(task)}: {reason}")
    if summary.workers_lost:
        print(f"{summary.workers_lost} worker(s) were lost and replaced")
    if summary.num_retries:
        print(f"{summary.num_retries} store calls were made again")


_SAY: dict[type, Any] = {
    events.Warned: lambda event: _warn(event.text),
    events.Noted: lambda event: _say(event.text),
    events.ReferenceRead: lambda event: _say(event.text),
    events.PromptsWritten: lambda event: print(f"wrote {event.num_prompts} prompts to {event.path}"),
    events.BatchSizeSettled: lambda event: _say(f"engine.batch_size={event.batch_size}"),
    events.RoundStarted: _say_round,
    events.CellDropped: _say_dropped,
    events.CellsEqual: lambda event: print(f"note: {event.text}"),
    events.NotOnContactSheet: _say_not_shown,
    events.RunWritten: _say_written,
    events.ImageLeftOut: lambda event: print(f"left out: image {event.image_id} ({event.place}): {event.reason}"),
    events.ImagesLeftOut: _say_left_out,
    events.Profiled: lambda event: _say(f"\n{event.table}trace: {event.trace} (open it in ui.perfetto.dev)"),
}


# Results -----------------------------------------------------------------------------------------------------------


def rendered(result: RenderResult) -> ExitCode:
    """Print the figures of a rendering job, and give its exit code."""
    codes = [evaluated(result.evaluation)] if result.evaluation else []
    if not result.is_finished:
        codes.append(ExitCode.UNFINISHED)
    if result.has_failures:
        codes.append(ExitCode.ROWS_FAILED)
    return most_urgent(*codes)


def evaluated(result: EvaluationResult) -> ExitCode:
    """Print an evaluation's figures, and what was expected of them; the exit code."""
    print(result.table)
    for verdict in result.verdicts:
        expected = verdict.expected
        print(
            f"{'pass' if verdict.holds else 'FAIL'}: {expected.figure} is {verdict.value:.8g} in cell "
            f"{verdict.cell_id}, expected {expected.lowest:.10g} to {expected.highest:.10g}"
        )
    return ExitCode.OK if result.is_good else ExitCode.CHECK_FAILED


class ProgressBar:
    """Counts the images of a stage: a live bar on a terminal, a line now and then in a log."""

    def __init__(self, num_images: int, verb: str) -> None:
        self.verb = verb
        self.summary = Summary()
        self._console = Console(highlight=False, soft_wrap=True)
        self._num_images = num_images
        self._done = 0
        self._num_ready = 0
        self._started = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images, {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("loading", total=num_images, rate="-")
        self._bar.start()

    def close(self) -> None:
        self._bar.stop()

    def listen(self, event: Event) -> None:
        self.summary.add(event)
        match event:
            case WorkerReady(worker, load_s):
                self._worker_ready(worker, load_s)
            case WorkersPending(num_workers):
                self._console.print(f"waiting for {num_workers} worker(s): still loading, or no room in the cluster")
            case WorkerLost(worker, reason):
                self._console.print(f"{worker} was lost: {reason}", markup=False)
            case AttemptFailed(task, attempt, reason, final):
                outcome = "given up" if final else "will be tried again"
                self._console.print(f"{task_name(task)}: attempt {attempt} failed, {outcome}: {reason}", markup=False)
            case ShardDone(report=report):
                self._advance(report.num_ok + report.num_failed - report.num_invalid)

    def _worker_ready(self, worker: str, load_s: float) -> None:
        self._num_ready += 1
        if self._num_ready == 1:
            self._started = time.monotonic()  # images a second are the workers' own, loading apart
        self._bar.update(self._task, description=self.verb)
        self._console.print(f"{worker} is ready ({load_s:.1f} s to load)", markup=False)

    def _advance(self, count: int) -> None:
        self._done += count
        self._num_images = max(self._num_images, self._done)  # of the shards that are left, an estimate
        rate = f"{self._done / max(time.monotonic() - self._started, 1e-9):.1f} images/s"
        self._bar.update(self._task, advance=count, total=self._num_images, rate=rate)
        now = time.monotonic()
        if not self._console.is_terminal and (now - self._last_line > _LINE_EVERY_S or self._done >= self._num_images):
            self._last_line = now
            self._console.print(f"{self._done} of {self._num_images} images, {rate}", markup=False)
