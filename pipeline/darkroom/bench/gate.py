"""Holds workers back until all of them are loaded: what is measured then is none's start. Knows no Ray."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from darkroom.engine.tasks import TaskRunner

_POLL_S = 0.05
_LONGEST_S = 600.0


@dataclass(frozen=True)
class Together:
    """Makes a worker, and gives it away when `size` processes have one. They meet in a folder of this machine."""

    make: Callable[[], TaskRunner]
    folder: Path
    size: int

    def __call__(self) -> TaskRunner:
        worker = self.make()
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + _LONGEST_S
        while len(list(self.folder.iterdir())) < self.size:
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all of {self.size} workers were loaded within {_LONGEST_S:.0f} s")
            time.sleep(_POLL_S)
        return worker
