"""The dispatcher on Ray: an actor for each worker, and one loop that hands out shards.

Actors are never restarted by Ray and tasks never retried by it, so that nothing runs twice unseen: the loop replaces
dead actors itself and counts every attempt.
"""

import time
from collections.abc import Callable, Collection, Iterator
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import RayError, RaySystemError, RayTaskError

from darkroom.domain.errors import DarkroomError, EndsRun, TryAgain, WrongModel
from darkroom.engine import cluster
from darkroom.engine.actor import (
    MAX_FAILED_STARTS,
    Slot,
    StartBackoff,
    WorkerActor,
    is_of_node,
    reason_of,
    software,
    start_slot,
)
from darkroom.engine.capacity import Wanted, WorkerResources, draining_nodes, node_of, why_pending
from darkroom.engine.dispatcher import Attempt, Ledger
from darkroom.engine.tasks import (
    AttemptFailed,
    AttemptStarted,
    Listener,
    ShardDone,
    Task,
    TaskRunner,
    WorkerLost,
    WorkerReady,
    WorkersGone,
    WorkersPending,
    stalled,
)
from darkroom.rendering.renderer import FatalDeviceError

_IN_FLIGHT = 2  # shards a worker: the device starts the next while the last one's bytes leave
_POLL_S = 1.0
_SAY_EVERY_S = 30.0
HEARTBEAT_EVERY_S = 10.0
HEARTBEAT_TIMEOUT_S = 120.0  # a worker's other threads may hold the interpreter for a while, as when it loads a model

MakeWorker = Callable[[], TaskRunner]
NewActor = Callable[[str, Task | None, Collection[str]], Any]


class RayDispatcher:
    """Runs tasks on actors of the cluster that was joined."""

    def __init__(
        self,
        make_worker: MakeWorker,
        num_workers: int | None,
        max_attempts: int,
        resources: WorkerResources = WorkerResources(),  # noqa: B008, frozen
    ) -> None:
        """`num_workers`: None for as many as the cluster has room for, also once it grows or shrinks."""
        self._make_worker = make_worker
        self._num_workers = num_workers
        self._resources = resources
        self._max_attempts = max_attempts

    def run(self, tasks: Iterator[Task], listen: Listener, may_begin: Callable[[], bool] = lambda: True) -> None:
        """Returns when every task is committed or given up. Raises DarkroomError when no worker can start."""
        _check_there()
        ledger = Ledger(tasks, self._max_attempts, may_begin)
        loop = _Loop(ledger, listen, self._new_actor, Wanted(self._num_workers, self._resources))
        with cluster.joined_alone():
            try:
                loop.run()
            except RaySystemError as error:
                _check_there(error)
                raise
            finally:
                loop.close()
        listen(WorkersGone())

    def _new_actor(self, name: str, task: Task | None, excluded: Collection[str]) -> Any:
        """`task`: the one that it may be given first; `excluded`: nodes that it must not be on."""
        options = {**self._resources.options(excluded), "max_restarts": 0, "max_task_retries": 0}
        return (
            ray.remote(WorkerActor)
            .options(max_concurrency=_IN_FLIGHT + 2, **options)
            .remote(cloudpickle.dumps(_for_worker(self._make_worker, name, task)), software())
        )


class _Loop:
    """One `ray.wait` loop over a bounded window of attempts."""

    def __init__(self, ledger: Ledger, listen: Listener, new_actor: NewActor, wanted: Wanted) -> None:
        self._wanted = wanted
        self._ledger = ledger
        self._listen = listen
        self._new_actor = new_actor
        self._slots: list[Slot] = []
        self._num_started = 0
        self._backoff = StartBackoff()
        self._draining_nodes: Collection[str] = ()
        self._draining_at = self._said_at = self._asked_at = self._round_at = time.monotonic()
        self._num_said = (0, 0)  # workers that are ready, and wanted

    def run(self) -> None:
        while True:
            _check_there()
            self._round_at = time.monotonic()
            self._adjust()
            self._hand_out()
            refs = [ref for slot in self._slots for ref in slot.refs]
            if not refs and self._ledger.is_empty:
                return
            if not refs:  # the pause after a start that failed
                time.sleep(_POLL_S)
                continue
            done, _ = ray.wait(refs, num_returns=1, timeout=_POLL_S)
            for ref in done:
                self._settle(ref)
            self._say_workers()
            self._drop_silent()

    def close(self) -> None:
        for slot in self._slots if ray.is_initialized() else ():
            ray.kill(slot.actor)
        self._slots.clear()

    # Workers ---------------------------------------------------------------------------------------------------

    def _adjust(self) -> None:
        """As many actors as there is work for: let go of those that the tail, or a leaving node, no longer needs."""
        idle = [slot for slot in self._slots if not slot.in_flight]
        if self._ledger.is_empty:
            nothing_under_way = len(idle) == len(self._slots)
            for slot in [slot for slot in idle if slot.is_ready or nothing_under_way]:
                self._let_go(slot)
            return
        for slot in [slot for slot in idle if slot.node_id in self._draining() and not slot.refused]:
            self._let_go(slot)
            self._wanted.count()
            self._listen(WorkerLost(slot.name, "its node is about to leave"))
        for slot in [slot for slot in idle if slot.refused]:
            self._let_go(slot)
            self._wanted.exclude(slot.node_id)
            self._listen(WorkerLost(slot.name, slot.refused + self._start_failed(slot.refused)))
        while len(self._slots) < self._wanted.number and self._backoff.allows_start:
            self._start()

    def _start(self) -> None:
        self._num_started += 1
        name = f"worker {self._num_started}"
        self._slots.append(start_slot(name, self._new_actor(name, self._ledger.next_task, self._wanted.excluded)))

    def _let_go(self, slot: Slot) -> None:
        self._slots.remove(slot)
        ray.kill(slot.actor)
        if slot.is_ready:
            self._backoff.reset()

    def _drop_silent(self) -> None:
        """A worker that does not answer keeps its shards, and its device, for ever: another one takes its place."""
        if time.monotonic() - self._asked_at < HEARTBEAT_EVERY_S:
            return
        self._asked_at = time.monotonic()
        for slot in [slot for slot in self._slots if slot.is_ready]:
            if (silent_s := slot.heartbeat.silent_s) > HEARTBEAT_TIMEOUT_S:
                self._lost(slot, TimeoutError(f"it has not answered for {silent_s:.0f} s"))
            elif said := stalled(slot.name, slot.longest):
                self._listen(said)

    def _say_workers(self) -> None:
        """How many are ready, when that changes; and while some are missing, now and then what they wait for."""
        if self._ledger.is_empty:
            return  # those that are idle go
        ready = sum(slot.is_ready for slot in self._slots)
        numbers = ready, max(self._wanted.number, len(self._slots))
        is_due = time.monotonic() - self._said_at > _SAY_EVERY_S
        pending = [slot.actor for slot in self._slots if not slot.is_ready]
        if is_due and pending:
            self._said_at = time.monotonic()
            self._listen(WorkersPending(*numbers, why_pending(pending)))
        elif numbers != self._num_said:
            self._listen(WorkersPending(*numbers))
        self._num_said = numbers

    # Work ------------------------------------------------------------------------------------------------------

    def _hand_out(self) -> None:
        """One shard to each actor with room, those with least to do first, until none takes any more."""
        while any(self._give_one(slot) for slot in self._usable()):
            pass

    def _give_one(self, slot: Slot) -> bool:
        if len(slot.in_flight) >= _IN_FLIGHT or slot.is_reserved:
            return False
        if self._ledger.is_empty or slot.is_dead or not slot.answers:  # in this order: to read prompts may take a while
            return False
        attempt = self._next_for(slot)
        if attempt is not None:
            slot.in_flight[slot.actor.run_task.remote(attempt.task, attempt.number)] = attempt
            self._listen(AttemptStarted(attempt.task, slot.name))
        return attempt is not None

    def _usable(self) -> list[Slot]:
        """Ready actors, those with least to do first, on nodes that will stay."""
        ready = [slot for slot in self._slots if slot.is_ready and not slot.refused]
        usable = [slot for slot in ready if slot.node_id not in self._draining()]
        return sorted(usable, key=lambda slot: len(slot.in_flight))

    def _draining(self) -> Collection[str]:
        """Nodes that will leave, asked for once a second: their actors still take calls, and would lose them."""
        if time.monotonic() - self._draining_at > _POLL_S:
            self._draining_nodes = draining_nodes()
            self._draining_at = time.monotonic()
        return self._draining_nodes

    def _next_for(self, slot: Slot) -> Attempt | None:
        """A suspect for an actor that is empty; while one waits, the least busy actor is left to run dry."""
        if self._ledger.has_suspects:
            if not slot.in_flight:
                return self._ledger.take_suspect()
            if slot is self._usable()[0] and not any(other.is_reserved for other in self._slots):
                return None
        return self._ledger.take()

    # What became of it -----------------------------------------------------------------------------------------

    def _settle(self, ref: Any) -> None:
        slot = next((slot for slot in self._slots if ref in slot.refs), None)
        if slot is None:
            return  # its actor died, and took it along, while an earlier answer of this round was read
        try:
            answer = ray.get(ref)
        except RayError as error:
            if not isinstance(error, RayTaskError) or ref not in slot.in_flight:  # died, or was killed for its memory
                self._lost(slot, error)
            elif isinstance(error, EndsRun):
                raise getattr(error, "cause", error) from None
            elif isinstance(error, FatalDeviceError):
                self._device_lost(slot, ref, error)
            elif isinstance(error, WrongModel):
                self._model_refused(slot, ref, error)
            else:
                self._task_failed(slot, ref, error)
        else:
            self._answered(slot, ref, answer)

    def _answered(self, slot: Slot, ref: Any, answer: Any) -> None:
        slot.heard_at = self._round_at  # it may have lain there since, as when prompts were slow to read
        if not slot.is_ready:
            slot.is_ready = True
            load_s, slot.node_id = answer
            self._backoff.reset()
            self._listen(WorkerReady(slot.name, load_s))
        else:
            self._listen(ShardDone(slot.in_flight.pop(ref).task, answer, slot.name))

    def _task_failed(self, slot: Slot, ref: Any, error: RayError) -> None:
        attempt, reason = slot.in_flight.pop(ref), reason_of(error)
        final = self._ledger.failed(attempt, reason)
        self._listen(AttemptFailed(attempt.task, attempt.number, reason, final))

    def _lost(self, slot: Slot, error: Exception) -> None:
        self._let_go(slot)  # an actor that is only out of reach must not come back
        reason = reason_of(error)
        if not slot.is_ready and is_of_node(reason):
            self._wanted.exclude(node_of(slot.actor))
        preempted = getattr(error, "preempted", False)
        pause = "" if slot.is_ready or preempted else self._start_failed(reason)
        self._listen(WorkerLost(slot.name, reason + pause))
        held = list(slot.in_flight.values())
        given_up = self._ledger.died(held, f"its worker died: {reason}", charge=not preempted)
        for attempt in held:
            self._listen(AttemptFailed(attempt.task, attempt.number, attempt.last_error, attempt in given_up))

    def _device_lost(self, slot: Slot, ref: Any, error: RayError) -> None:
        """It never comes back to that process, which ends. Whose batch it was is known: no other shard is charged."""
        self._let_go(slot)
        self._listen(WorkerLost(slot.name, reason_of(error)))
        self._task_failed(slot, ref, error)
        others = list(slot.in_flight.values())
        self._ledger.died(others, "its worker lost the device", charge=False)
        for attempt in others:
            self._listen(AttemptFailed(attempt.task, attempt.number, attempt.last_error, final=False))

    def _model_refused(self, slot: Slot, ref: Any, error: RayError) -> None:
        """Its machine has not the model's files, which is no shard's fault: another one gets it. The worker ends what
        else it has, and goes; the next one is given that model first, so that on the same machine it cannot start."""
        attempt, slot.refused = slot.in_flight.pop(ref), reason_of(error)
        self._ledger.failed(attempt, slot.refused, to_blame=False)
        self._listen(AttemptFailed(attempt.task, attempt.number, slot.refused, final=False))

    def _start_failed(self, reason: str) -> str:
        """What to add to the reason. Raises DarkroomError after several in a row, when no other works or loads."""
        pause_s = self._backoff.failed()
        if self._backoff.num_failed >= MAX_FAILED_STARTS and not self._slots:
            raise DarkroomError(f"no worker could start ({self._backoff.num_failed} tries): {reason}")
        return f"; the next start waits {pause_s:.0f} s"


def _check_there(cause: Exception | None = None) -> None:
    if not ray.is_initialized():
        raise TryAgain(
            "this process left its Ray (ray.shutdown()) while a run was on it; what was committed stays, and the same "
            "call goes on"
        ) from cause


def _for_worker(make_worker: MakeWorker, name: str, task: Task | None) -> MakeWorker:
    """What makes the worker of this name, where makers tell workers apart: with the model that its first task needs."""
    for_worker = getattr(make_worker, "for_worker", None)
    return for_worker(name, task) if for_worker else make_worker
