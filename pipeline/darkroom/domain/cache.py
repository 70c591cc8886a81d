"""Where the user's own cache lies, which may be lost at any time."""

import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """A part of it: `$XDG_CACHE_HOME/darkroom/<name>`, or below ~/.cache."""
    given = Path(os.environ.get("XDG_CACHE_HOME", ""))
    home = given if given.is_absolute() else Path("~/.cache").expanduser()  # the standard says to ignore relative ones
    return home / "darkroom" / name
