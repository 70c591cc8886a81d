"""The text `parameters` in images of AUTOMATIC1111's web UI, Forge and tools that write as they do.

    a red circle
    Negative prompt: blurry
    Steps: 20, Sampler: Euler a, CFG scale: 7, Seed: 5, Size: 512x768, Model: mine

The last line holds names with values; a value with commas or colons is in double quotes, as JSON.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_NEGATIVE = "Negative prompt:"
_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])*"|[^,]*)(?:,|$)')
_LEAST_FIELDS = 2  # of a line that is one of settings, and not of a prompt: "Steps" and one more


@dataclass(frozen=True)
class Infotext:
    """What such a text says."""

    prompt: str
    negative_prompt: str
    fields: Mapping[str, str]  # by their names as they are written


def read_infotext(text: str) -> Infotext:
    """A text without a line of settings is a prompt alone."""
    lines = text.strip().split("\n")
    fields = _fields(lines[-1])
    lines = lines[:-1] if fields else lines
    begins = next((number for number, line in enumerate(lines) if line.startswith(_NEGATIVE)), len(lines))
    negative = "\n".join(lines[begins:]).removeprefix(_NEGATIVE)
    return Infotext("\n".join(lines[:begins]).strip(), negative.strip(), fields)


def _fields(line: str) -> dict[str, str]:
    found = {name: _unquoted(value.strip()) for name, value in _FIELD.findall(line)}
    return found if len(found) >= _LEAST_FIELDS and "Steps" in found else {}


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    try:
        return str(json.loads(value))
    except ValueError:
        return value
