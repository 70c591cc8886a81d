"""A job's end, however it comes: what became of it is told to `on_end`, once.

What a hook does or fails to do changes nothing of the job and of its exit code.
"""

import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType

from darkroom.api.events import CHECKING, MEASURING
from darkroom.domain.errors import redacted, type_and_line
from darkroom.jobs.console import ExitCode, explained
from darkroom.jobs.hooks import KEY, HookFailed, hook_of
from darkroom.jobs.printing import Printer, warn


@dataclass(frozen=True)
class Outcome:
    """What a hook is told. Counts and costs are of this command."""

    job: str
    run: str  # its folder or address; empty where it ended before it had one
    state: str  # the exit code's name, such as ok, rows_failed, unfinished or interrupted
    exit_code: int
    meaning: str  # of the exit code
    error: str | None  # what ended it, in one line
    num_images: int  # that were rendered, or measured by evaluate; with those that failed
    num_failed: int
    num_store_retries: int
    worker_seconds: float
    cost: float | None  # of the workers; None where no price was given
    seconds: float
    ended_at: str  # ISO 8601, UTC


class Ending:
    """A context around a job's work. Raises DarkroomError at once where `on_end` cannot be."""

    def __init__(self, job: str, on_end: str | None, printer: Printer, run: str = "") -> None:
        """`run`: of a job on a run that is there."""
        self._hook = hook_of(on_end)
        self._job = job
        self._printer = printer
        self._run = run
        self._started = time.monotonic()
        self._code = ExitCode.INTERNAL_ERROR

    def ended(self, code: ExitCode) -> ExitCode:
        """What the job returns, given back."""
        self._code = code
        return code

    def __enter__(self) -> "Ending":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._hook is None:
            return
        self._printer.take_down()
        said = None
        if error is not None:
            self._code, said = explained(error)
        if error is not None and self._code is not ExitCode.INTERRUPTED:
            said = said or redacted(type_and_line(error))
        try:
            if text := self._hook.tell(asdict(self._outcome(said))):
                print(text, flush=True)
        except HookFailed as failed:
            warn(f"{KEY}: {self._hook} was not told of the job's end: {redacted(str(failed))}")
        except KeyboardInterrupt:
            warn(f"{KEY}: {self._hook} was interrupted")
        except Exception as failed:  # the job's own end is what counts
            warn(f"{KEY}: {self._hook} was not told of the job's end: {redacted(type_and_line(failed))}")

    def _outcome(self, error: str | None) -> Outcome:
        working = [state for state in self._printer.stages if state.stage not in (CHECKING, MEASURING)]
        stages = [state for state in working if state.stage == working[0].stage]
        costs = [state.cost for state in self._printer.stages if state.cost is not None]
        return Outcome(
            job=self._job,
            run=redacted(self._printer.place or self._run),
            state=self._code.name.lower(),
            exit_code=int(self._code),
            meaning=self._code.meaning,
            error=error,
            num_images=sum(state.num_done for state in stages),
            num_failed=sum(state.num_failed for state in stages),
            num_store_retries=sum(state.num_store_retries for state in self._printer.stages),
            worker_seconds=sum(state.worker_s for state in self._printer.stages),
            cost=sum(costs) if costs else None,
            seconds=time.monotonic() - self._started,
            ended_at=datetime.now(UTC).isoformat(timespec="seconds"),
        )
