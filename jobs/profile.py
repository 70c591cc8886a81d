"""`engine.profile=true`: adds up what the workers and this process measured, prints it, and keeps it beside the run."""

from collections.abc import Iterator

from darkroom.domain.spans import Profile
from darkroom.engine.events import Event, Listener, ShardDone
from darkroom.engine.profile import ProfileTotals
from darkroom.engine.tasks import Task
from darkroom.runs.keys import PROFILE_PREFIX
from darkroom.storage.store import Store


class JobProfile:
    """Stands between a job and its dispatcher. Does nothing when it is off."""

    def __init__(self, is_on: bool) -> None:
        self._own = Profile(is_on)
        self._account = ProfileTotals()

    def tasks(self, tasks: Iterator[Task]) -> Iterator[Task]:
        """The same tasks, their reading measured."""
        while True:
            with self._own.span("read"):
                task = next(tasks, None)
            if task is None:
                return
            yield task

    def listener(self, listen: Listener) -> Listener:
        """Hears what `listen` hears, and hands it on."""

        def hear(event: Event) -> None:
            if isinstance(event, ShardDone):
                self._account.add(event.worker, event.report.spans)
            listen(event)

        return hear

    def keep(self, store: Store) -> None:
        """Print the table, and write it and the trace; those of an earlier start are replaced."""
        if not self._own.is_on:
            return
        self._account.add("driver", self._own.taken())
        table = self._account.table()
        store.put(f"{PROFILE_PREFIX}stages.txt", table.encode(), "text/plain")
        store.put(f"{PROFILE_PREFIX}trace.json", self._account.trace(), "application/json")
        print(
            f"\n{table}trace: {store.describe(PROFILE_PREFIX + 'trace.json')} (open it in ui.perfetto.dev)", flush=True
        )
