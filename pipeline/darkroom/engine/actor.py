"""A worker in a Ray process of its own: what runs there, and how the dispatcher sees it from here.

Ray puts the driver's working directory first on its processes' path, so a user's folder called `darkroom` would be
imported there in place of the installed package. The actor's class therefore travels by value, and finds the package
itself before anything that needs it is unpickled.
"""

import importlib
import pickle
import platform
import re
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RayError

from darkroom.engine.dispatcher import Attempt

_PART = Path("darkroom", "engine", "actor.py")  # what no other package of that name has
_MODULE = re.compile(r"^(?:\w+\.)+(?=\w+: )")  # before an error's class in what Ray says of it
_SOFTWARE = ("darkroom", "torch", "diffusers", "transformers")
_OF_NODE = ("WrongModel:", "WrongSoftware:")  # errors, as Ray words them
MAX_FAILED_STARTS = 3  # in a row; from then on, a run that has no worker at all is given up
_FIRST_PAUSE_S = 1.0
_LONGEST_PAUSE_S = 300.0
_QUIET_S = 1.0  # after an answer, nothing is asked for so long
_ANSWER_S = 1.0  # to answer a question that is asked before work is given


# In the worker's process --------------------------------------------------------------------------------------------


class WorkerActor:
    """Runs the worker that `pickled`, a function without arguments, makes, where this node's software is `expected`."""

    def __init__(self, pickled: bytes, expected: dict[str, str]) -> None:
        import_darkroom(sys.path)
        check_software(expected)
        started = time.perf_counter()
        self._worker = pickle.loads(pickled)()
        self._load_s = time.perf_counter() - started

    def ready(self) -> tuple[float, str]:
        """(seconds to load, node)."""
        return self._load_s, ray.get_runtime_context().get_node_id()

    def watch(self) -> None:
        """Never answers: its error tells the loop that this process is gone, though it was given nothing to do."""
        threading.Event().wait()

    def answer(self) -> tuple[str, float] | None:
        """At once, whatever its other threads do: the stage that one has been at for longest, with the seconds."""
        from darkroom.engine.dispatcher import longest_of

        return longest_of(self._worker)

    def run_task(self, task: Any, attempt: int) -> Any:
        """A Task to its ShardReport."""
        return self._worker.run_task(task, attempt)


def import_darkroom(path: list[str]) -> None:
    """Import the package from the first folder of `path` that has Darkroom itself; `path` is left as it was.

    Raises ImportError where there is none.
    """
    root = next((folder for folder in path if Path(folder, _PART).is_file()), None)
    if root is None:
        raise ImportError(f"Darkroom is not installed for {sys.executable} on this node; install it there")
    path.insert(0, root)
    importlib.import_module("darkroom")
    path.remove(root)


class WrongSoftware(Exception):
    """This node's libraries are not those of the machine that started the job; here, as its Darkroom may be another."""


def software() -> dict[str, str]:
    """Versions of what shapes images, by their names, as far as they are installed.

    Without what a build adds, such as +cpu: the driver's machine may have no GPU.
    """
    found: dict[str, str] = {}
    for name in _SOFTWARE:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name).partition("+")[0]
    return found


def check_software(expected: dict[str, str]) -> None:
    """Raises WrongSoftware where this node's versions are not those of the machine that started the job."""
    here = software()
    others = [f"{name} {here.get(name, 'missing')} and not {version}" for name, version in expected.items()
              if here.get(name) != version]  # fmt: skip
    if others:
        raise WrongSoftware(
            f"{platform.node()} has {', '.join(others)}, with which this job was started; install the same there"
        )


cloudpickle.register_pickle_by_value(sys.modules[__name__])


# In the dispatcher's process ----------------------------------------------------------------------------------------


class Heartbeat:
    """Whether a worker still answers: one that is stopped, that swaps, or whose node hangs never fails by itself.

    `ask` puts a question that is answered at once, and gives what `has_answered` is told.
    """

    def __init__(self, ask: Callable[[], Any], has_answered: Callable[[Any], bool]) -> None:
        self._ask = ask
        self._has_answered = has_answered
        self._question: Any = None
        self._asked_at = 0.0
        self.answered: Any = None  # the last question that was

    @property
    def silent_s(self) -> float:
        """For how long it owes an answer; where it owes none, it is asked anew."""
        if self._question is None or self._has_answered(self._question):
            self.answered = self._question
            self._question, self._asked_at = self._ask(), time.monotonic()
        return time.monotonic() - self._asked_at


@dataclass
class Slot:
    """One actor as the dispatcher's loop sees it."""

    name: str
    actor: Any
    ready_ref: Any
    watch_ref: Any
    heartbeat: Heartbeat
    node_id: str | None = None
    is_ready: bool = False
    heard_at: float = 0.0  # when it last answered
    refused: str = ""  # why it is given nothing more: its machine has not the files of a model
    in_flight: dict[Any, Attempt] = field(default_factory=dict)  # by object ref

    @property
    def is_reserved(self) -> bool:
        """Holds a task that must be alone."""
        return any(attempt.alone for attempt in self.in_flight.values())

    @property
    def is_dead(self) -> bool:
        """Known to be dead, though the loop has not come to it yet."""
        return bool(ray.wait([self.watch_ref], timeout=0)[0])

    @property
    def answers(self) -> bool:
        """Asked where nothing was heard of it for a while: Ray takes seconds to tell that a process died."""
        if time.monotonic() - self.heard_at < _QUIET_S:
            return True
        question = self.actor.answer.remote()
        try:
            done, _ = ray.wait([question], timeout=_ANSWER_S)
            ray.get(done)
        except RayError:
            return False
        self.heard_at = time.monotonic() if done else self.heard_at
        return bool(done)

    @property
    def longest(self) -> tuple[str, float] | None:
        """The stage that it was at for longest when it last answered a heartbeat."""
        if self.heartbeat.answered is None:
            return None
        try:
            found: tuple[str, float] | None = ray.get(self.heartbeat.answered, timeout=0)
        except (RayError, TimeoutError):
            return None
        return found

    @property
    def refs(self) -> list[Any]:
        """What the loop waits for; what is ready is read in this order, so answers come before a death."""
        return [*self.in_flight, self.watch_ref] if self.is_ready else [self.ready_ref]


def start_slot(name: str, actor: Any) -> Slot:
    """An actor that was just created, which loads its worker meanwhile."""
    heartbeat = Heartbeat(actor.answer.remote, lambda ref: bool(ray.wait([ref], timeout=0)[0]))
    return Slot(name, actor, actor.ready.remote(), actor.watch.remote(), heartbeat)


def is_of_node(reason: str) -> bool:
    """Whether a worker's start failed by what its node has, and would fail there again."""
    return reason.startswith(_OF_NODE)


def reason_of(error: Exception) -> str:
    """The one line that says something, as Ray wraps errors in pages of traceback."""
    cause = getattr(error, "cause", None) or error
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()] or [type(cause).__name__]
    if isinstance(error, RayActorError):
        return _MODULE.sub("", lines[-1]) if "creation task" in lines[0] else lines[0]
    return f"{type(cause).__name__}: {lines[0]}"


class StartBackoff:
    """Failed starts in a row, and the pause after each: twice the one before, up to five minutes."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    @property
    def allows_start(self) -> bool:
        return self._clock() >= self._not_before

    def reset(self) -> None:
        """A worker came or went that could start: what failed before it says nothing any more."""
        self.num_failed = 0
        self._pause_s = self._not_before = 0.0

    def failed(self) -> float:
        """Count a failed start; returns the pause in seconds."""
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S) if self.num_failed else _FIRST_PAUSE_S
        self.num_failed += 1
        self._not_before = self._clock() + self._pause_s
        return self._pause_s
