"""A worker in a Ray process of its own, sent to it as code.

Ray puts the driver's working directory first on its processes' path, so a user's folder called `darkroom` would be
imported there in place of the installed package. The class therefore travels by value, and finds the package itself
before anything that needs it is unpickled.
"""

import importlib
import pickle
import sys
import threading
import time
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle

_PART = Path("darkroom", "dispatch", "actor.py")  # what no other package of that name has


class WorkerActor:
    """Runs the worker that `pickled`, a function without arguments, makes."""

    def __init__(self, pickled: bytes) -> None:
        import_darkroom(sys.path)
        started = time.perf_counter()
        self._worker = pickle.loads(pickled)()
        self._load_s = time.perf_counter() - started

    def ready(self) -> tuple[float, str]:
        """(seconds to load, node)."""
        return self._load_s, ray.get_runtime_context().get_node_id()

    def watch(self) -> None:
        """Never answers: its error tells the loop that this process is gone, though it was given nothing to do."""
        threading.Event().wait()

    def answer(self) -> None:
        """At once, whatever its other threads do."""

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


cloudpickle.register_pickle_by_value(sys.modules[__name__])
