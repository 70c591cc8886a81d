"""What torch.compile made in earlier runs, for this process, and what this process made anew, for later ones."""

from collections.abc import Sequence
from contextlib import suppress

from darkroom.rendering.compiling import compiled, machine_kind, num_compiled, use_compiled
from darkroom.rendering.renderer import Compiled


class KnownCompiled:
    """Lives on the device's thread. Nothing here may fail: at worst something is compiled that need not be."""

    def __init__(self, device: str, known: Sequence[Compiled]) -> None:
        self._device = device
        fitting = [each for each in known if each.machine == machine_kind(device)]
        for each in fitting:
            with suppress(Exception):
                use_compiled(each.data)
        self._is_told = bool(fitting)
        self._num_told = num_compiled()

    def news(self) -> Compiled | None:
        """All that this process compiled, where nobody was told so far; None where nothing is new."""
        if self._is_told and num_compiled() == self._num_told:
            return None
        self._is_told, self._num_told = True, num_compiled()
        with suppress(Exception):
            return compiled(self._device)
        return None
