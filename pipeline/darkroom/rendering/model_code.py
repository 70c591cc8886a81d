"""Where the code that a trusted model brings along is imported from: a folder of this load's own.

diffusers copies such code into one folder for all models and processes, by file name alone. There another model's file,
or one that a worker beside this is just copying, may take its place, and what one model imported serves the next.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusers.utils import DIFFUSERS_DYNAMIC_MODULE_NAME, dynamic_modules_utils

_PREFIX = "darkroom-model-code-"
_kept: list[TemporaryDirectory] = []  # of the model that is loaded: its functions may import more of it


@contextmanager
def own_modules() -> Iterator[None]:
    """For one load, in a process that holds one model."""
    _forget()
    _kept[:] = [TemporaryDirectory(prefix=_PREFIX)]
    before, dynamic_modules_utils.HF_MODULES_CACHE = dynamic_modules_utils.HF_MODULES_CACHE, _kept[0].name
    sys.path.insert(0, _kept[0].name)  # before what other programs left in diffusers' own
    try:
        yield
    finally:
        dynamic_modules_utils.HF_MODULES_CACHE = before


def _forget() -> None:
    sys.path[:] = [place for place in sys.path if not Path(place).name.startswith(_PREFIX)]
    for name in list(sys.modules):
        if name.split(".")[0] == DIFFUSERS_DYNAMIC_MODULE_NAME:
            del sys.modules[name]
