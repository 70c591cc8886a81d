"""The one model that a worker holds: loaded when it is first needed, let go when another one is."""

import gc
from collections.abc import Callable
from typing import Generic, TypeVar

from darkroom.domain.cells import ModelIdentity
from darkroom.rendering.renderer import Renderer

Load = Callable[[ModelIdentity], Renderer]
Key = TypeVar("Key")


class OneModel(Generic[Key]):
    """Belongs to the device's thread. A sweep over models goes model by model, so each is loaded once a worker."""

    def __init__(self, load: Callable[[Key], Renderer]) -> None:
        self._load = load
        self._key: Key | None = None
        self._renderer: Renderer | None = None
        self.num_loads = 0

    def get(self, key: Key) -> Renderer:
        """What `load` makes of the key."""
        if self._renderer is None or key != self._key:
            self._renderer = None
            gc.collect()  # it refers to itself, and the next one needs its memory
            self._renderer = self._load(key)
            self._key = key
            self.num_loads += 1
        return self._renderer
