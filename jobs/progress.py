"""How far a stage is, shown: a live bar on a terminal; elsewhere a line now and then, by time, as text or as JSON."""

import json
import threading
import time
from dataclasses import asdict

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from darkroom.engine.meter import Meter, State
from darkroom.engine.tasks import (
    AttemptFailed,
    Event,
    ShardDone,
    Summary,
    WorkerLost,
    WorkerReady,
    WorkersPending,
    task_name,
)

_FIRST_LINES_EVERY_S, _LATER_LINES_EVERY_S = 10.0, 60.0
_NUM_FIRST_LINES = 12
_TICK_S = 1.0
_VERBS = {"features": "extracting features", "retry": "rendering"}  # of stages


class ProgressBar:
    """Shows a stage; up from its making until it is closed."""

    def __init__(self, meter: Meter, as_json: bool = False) -> None:
        """`meter`: counts an event before it is told of here."""
        self.verb = _VERBS.get(meter.stage, meter.stage)
        self._as_json = as_json
        self._meter = meter
        self._console = Console(highlight=False, soft_wrap=True)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("images, {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal or as_json,
        )
        self._task = self._bar.add_task("loading", total=meter.state().num_images, rate="-")
        self._num_lines, self._last_line, self._said_stall = 0, time.monotonic(), ""
        self._bar.start()
        self._closed = threading.Event()
        self._ticking = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._ticking.start()

    @property
    def summary(self) -> Summary:
        return self._meter.summary

    @property
    def state(self) -> State:
        return self._meter.state()

    def close(self) -> None:
        """The last line is said, where there are lines."""
        self._closed.set()
        self._ticking.join()
        state = self._meter.state()
        if self._bar.disable and state.num_done:
            self._line(state)
        self._bar.stop()

    def listen(self, event: Event) -> None:
        match event:
            case WorkerReady(worker, load_s):
                self._bar.update(self._task, description=self.verb)
                self._say(f"{worker} is ready ({load_s:.1f} s to load)")
            case WorkersPending(num_ready, num_wanted, why) if why:
                self._say(f"{num_ready} of {num_wanted} workers are ready: {why}")
            case WorkerLost(worker, reason):
                self._say(f"{worker} was lost: {reason}")
            case AttemptFailed(task, attempt, reason, final):
                outcome = "given up" if final else "will be tried again"
                self._say(f"{task_name(task)}: attempt {attempt} failed, {outcome}: {reason}")
            case ShardDone():
                self._update(self._meter.state())

    def _update(self, state: State) -> None:
        rate = "-" if state.mean_images_per_s is None else f"{state.mean_images_per_s:.1f} images/s"
        ready = f", {state.num_ready} of {state.num_wanted} workers" if state.num_ready < state.num_wanted else ""
        stalled = f", {state.stalled}" if state.stalled else ""
        self._bar.update(self._task, completed=state.num_done, total=state.num_images, rate=f"{rate}{ready}{stalled}")

    def _tick(self) -> None:
        while not self._closed.wait(_TICK_S):
            state = self._meter.state()
            if not self._bar.disable:
                self._update(state)
            elif self._is_due(state):
                self._line(state)

    def _is_due(self, state: State) -> bool:
        """By time; a stall that begins is said at once."""
        every_s = _FIRST_LINES_EVERY_S if self._num_lines < _NUM_FIRST_LINES else _LATER_LINES_EVERY_S
        begins = bool(state.stalled) and not self._said_stall
        self._said_stall = state.stalled
        return begins or time.monotonic() - self._last_line >= every_s

    def _line(self, state: State) -> None:
        self._last_line = time.monotonic()
        self._num_lines += 1
        self._say(json.dumps(asdict(state)) if self._as_json else str(state))

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False)
