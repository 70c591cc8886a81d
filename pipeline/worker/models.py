"""The one model that a worker holds: loaded when a task first needs it, let go when another cell needs another one."""

import gc
from collections.abc import Callable

from pipeline.domain.cells import ModelIdentity
from pipeline.rendering.renderer import Renderer

Load = Callable[[ModelIdentity], Renderer]


class OneModel:
    """Belongs to the device's thread. A sweep over models goes model by model, so each is loaded once a worker."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._identity: ModelIdentity | None = None
        self._renderer: Renderer | None = None
        self.num_loads = 0

    def get(self, identity: ModelIdentity) -> Renderer:
        if self._renderer is None or identity != self._identity:
            self._renderer = None
            gc.collect()  # it refers to itself, and the next one needs its memory
            self._renderer = self._load(identity)
            self._identity = identity
            self.num_loads += 1
        return self._renderer
