"""Keeps a prompt's text from depending on which optional packages an environment has."""

import sys
from typing import Any

_OPTIONAL = ("is_bs4_available", "is_ftfy_available")


def leave_text_as_it_is(pipe: Any) -> None:
    """Some pipelines (PixArt's, Lumina, IF, Kandinsky 5) clean prompts with ftfy and Beautiful Soup where these are
    installed, and leave them alone elsewhere: two environments, two pictures. Have them left alone everywhere."""
    for kind in type(pipe).__mro__:
        for name in _OPTIONAL:
            if hasattr(sys.modules.get(kind.__module__), name):
                setattr(sys.modules[kind.__module__], name, _never)


def _never() -> bool:
    return False
