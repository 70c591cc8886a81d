"""The user's own cache, which may be lost at any time. Knows where it is, and nothing of what is kept there."""

import os
from pathlib import Path

from pipeline.storage.local import LocalStore
from pipeline.storage.store import StoreSpec


def user_cache(name: str) -> LocalStore:
    """A part of it: `$XDG_CACHE_HOME/darkroom/<name>`, or below ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = given if given.is_absolute() else Path("~/.cache").expanduser()  # the standard says to ignore relative ones
    return LocalStore(StoreSpec(str(home / "darkroom" / name)))
