"""Errors name what they are about as the command line does, `sampling.height`; a caller in Python knows it as `height`.

One vocabulary serves all that raises; what leaves a call of the API is put into the names of its arguments here.
"""

import re

from darkroom.domain.settings import SETTINGS

_RENAMED = {"output.uri": "out", "model.repo_id": "model", "prompts.uri": "prompts", "evaluate=inline": "evaluate=True"}
_RENAMED |= {"prompts.endpoint_url": "prompts_endpoint_url"}
_GROUPS = ("output", "prompts", "grid", "evaluation")  # their keys are arguments of the same names, or fields of one
_SETTING = "|".join(sorted(SETTINGS, key=len, reverse=True))
_VALUES = {"true": "True", "false": "False", "null": "None"}
# A key where a word may begin: not within a path, an address or a longer name; commands in backticks stay.
_KEY = re.compile(
    rf"`[^`]*`|(?<![\w/.:-])(?P<key>(?:{'|'.join(map(re.escape, _RENAMED))})\b"
    rf"|(?:sampling|model)\.(?:{_SETTING})\b|(?:{'|'.join(_GROUPS)})\.[a-z_]+(?:\.[a-z_]+)*)"
    r"(?P<value>=(?:true|false|null)\b)?"
)


def in_python(text: str) -> str:
    """The text with the command line's keys, and true, false and null after them, as Python has them."""
    return _KEY.sub(lambda found: _argument(found["key"]) + _value(found["value"]) if found["key"] else found[0], text)


def _argument(key: str) -> str:
    if key in _RENAMED:
        return _RENAMED[key]
    group, _, name = key.partition(".")
    for names in ("grid.axes.", "prompts.columns."):  # whose keys are those of a dict
        if key.startswith(names):
            return f"{names.split('.')[1]}[{key.removeprefix(names)!r}]"
    return f"evaluate.{name}" if group == "evaluation" else name


def _value(text: str | None) -> str:
    return f"={_VALUES[text[1:]]}" if text else ""
