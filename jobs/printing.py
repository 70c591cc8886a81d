"""What a person reads while a job works: the events of the API, printed."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from darkroom.api import events
from darkroom.domain.progress import readable_bytes
from darkroom.domain.records import FAILED, OK, STAYING
from darkroom.engine.meter import State
from darkroom.engine.tasks import Event, Summary, task_name
from darkroom.jobs.console import JsonLines
from darkroom.jobs.progress import ProgressBar
from darkroom.runs.cells import axis_lines
from darkroom.runs.commands import on_run

_MOST_REASONS = 10


class Printer:
    """Prints each event that it is called with; a context, which ends with the bar taken down.

    `as_json`: inside, every line of the standard output is a JSON object: how far a stage is, or a message.
    """

    def __init__(self, as_json: bool = False) -> None:
        self.place = ""  # of a run that is rendered, once it is claimed
        self.stages: list[State] = []  # those that have ended
        self._as_json = as_json
        self._stdout = sys.stdout
        self._bar: ProgressBar | None = None

    def __enter__(self) -> "Printer":
        if self._as_json:
            self._stdout, sys.stdout = sys.stdout, JsonLines(sys.stdout)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.take_down()
        if self._as_json:
            sys.stdout.close()
            sys.stdout = self._stdout

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
                self.place = event.place
                _say_prepared(event)
            case events.RenderingStarted():
                if event.num_committed:
                    left = event.num_shards - event.num_committed
                    _say(f"{event.num_committed} of {event.num_shards} shards are committed already; {left} are left")
            case events.FeaturesStarted():
                _say(f"{event.num_shards} shards lack features of {', '.join(event.extractors)}")
            case events.RetryStarted():
                _say(f"{event.num_images} failed records in {event.num_shards} shards")
            case events.StageStarted():
                self.take_down()
                self._bar = ProgressBar(event.meter, self._as_json)
            case events.RenderingEnded():
                self.take_down()
                _say_rendered(event.rendered)
            case events.StageEnded():
                self.take_down()
                if event.spent:
                    _say(f"cost of workers: {event.spent.text({})}")

    def stopped(self, how: str) -> None:
        """What became of shards that were being rendered when the job was interrupted or its store failed."""
        if self._bar and self._bar.verb == "rendering":
            num_shards = self._bar.summary.num_shards
            self.take_down()
            _say(
                f"\n{how}: {num_shards} shards were committed by this command, and nothing half done is visible in "
                f"{self.place}"
            )

    def take_down(self) -> None:
        """End the stage that is shown."""
        if self._bar:
            self._bar.close()
            self.stages.append(self._bar.state)
        self._bar = None


def _say(text: str) -> None:
    print(text, flush=True)


def warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr, flush=True)


# Events ------------------------------------------------------------------------------------------------------------


def _say_prepared(event: events.Prepared) -> None:
    overriding = f"; rows override {event.overriding}" if event.overriding else ""
    if event.is_sweep:
        cells = event.cells.values()
        seeds = {info.cell.sampling.seed for info in cells}
        noise = "the same noise in each" if len(seeds) == 1 else f"noise of {len(seeds)} seeds"
        print(
            f"{event.num_images} images: {len(cells)} cells of {event.num_rows} prompts ({event.prompts}), {noise}"
            f"{overriding}"
        )
        for line in axis_lines(cells, event.run):
            print(f"  {line}")
    else:
        [info] = event.cells.values()
        print(
            f"{event.num_images} images from {event.num_rows} prompts ({event.prompts}) with "
            f"{', '.join(filter(None, (info.model_name, info.cell.model.parts_text)))}: {info.headline}{overriding}"
        )
    weights = f", each with {readable_bytes(event.weight_bytes)} of weights" if event.weight_bytes else ""
    backends = f" by {' and '.join(event.backends)}" if event.device == "cpu" and event.backends else ""
    compiling = f"; {event.compiling}" if event.compiling else ""
    _say(f"into {event.place}, on {event.num_workers} worker(s), {event.device}{backends}{weights}{compiling}")
    if event.ignored_shard_size is not None:
        print(f"engine.shard_size={event.ignored_shard_size} is ignored: this run has {event.shard_size}")


def _say_rendered(found: events.Rendered) -> None:
    summary = found.summary
    rate = summary.num_ok / max(found.elapsed_s, 1e-9)
    print(f"\n{summary.num_ok} images rendered in {found.elapsed_s:.0f} s ({rate:.1f} images/s)")
    if summary.num_loads:
        print(f"{summary.num_loads} model load(s), for {found.num_models} model(s) and {found.num_cells} cell(s)")
    say_failures(summary)
    if summary.num_unmarked:
        print(f"{summary.num_unmarked} images do not hold the watermark, and were stored without; their records say so")
    _say_cost(found)
    if summary.num_adopted:
        print(f"{summary.num_adopted} of these shards another command had committed first: its images stand")
    if found.earlier[FAILED]:
        print(f"{found.earlier[FAILED]} images had failed before; to render them again:")
        print(f"  {on_run('retry', found.store, **found.model_settings)}")
    say_staying(found.earlier, "as before")
    if found.num_missing:
        print(f"{found.num_missing} shards are missing: the same command tries them again")


def _say_cost(found: events.Rendered) -> None:
    """Of this command, and of the run with what was spent on it before."""
    if found.spent is None:
        return
    by_status = {OK: found.summary.num_ok, FAILED: found.summary.num_failed}
    in_all = f"; {found.spent_in_all.cost:.3g} of the run by all commands so far" if found.spent_in_all else ""
    print(f"cost of workers: {found.spent.text(by_status)}{in_all}")


def say_staying(by_status: Mapping[str, int], how: str) -> None:
    """Of records without an image, those that no retry renders."""
    for status, sentence in STAYING.items():
        if by_status.get(status):
            print(sentence.format(by_status[status], how))


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
        filtered = f" ({summary.num_filtered} of them refused by a policy)" if summary.num_filtered else ""
        print(f"{summary.num_failed} images failed{filtered}; their records say why:")
        for error in summary.errors:
            print(f"  {error}")
    if summary.rejected:
        print(f"{summary.rejected.total()} more images were made and rejected by the run's policy:")
        for reason, count in summary.rejected.most_common(_MOST_REASONS):
            print(f"  {count} x {reason}")
    if summary.cost:
        print(f"these images cost {summary.cost:g}, by the renderer's price")
    for change in sorted(summary.resized):
        print(f"warning: the model changed the size of images, {change}; their records and files say what they have")
    for task, reason in summary.failed_shards:
        print(f"not committed: {task_name(task)}: {reason}")
    if summary.workers_lost:
        print(f"{summary.workers_lost} worker(s) were lost and replaced")
    if summary.num_retries:
        print(f"{summary.num_retries} store calls were made again")


_SAY: dict[type, Any] = {
    events.Warned: lambda event: warn(event.text),
    events.Noted: lambda event: _say(event.text),
    events.ReferenceRead: lambda event: _say(event.text),
    events.FilesCopied: lambda event: _say(str(event)),
    events.PromptsWritten: lambda event: print(f"wrote {event.num_prompts} prompts to {event.path}"),
    events.PromptsReported: lambda event: print(f"prompts' report: {event.path}"),
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
