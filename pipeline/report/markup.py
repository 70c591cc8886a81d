"""Text for HTML, for data inside HTML, and for Markdown, such that none of it is taken for anything but text.

Knows nothing of reports. What is not `Markup` is escaped: a caller cannot forget to.
"""

import html
import json
import re
from collections.abc import Mapping

_VOID = {"meta", "link", "img", "input"}
_ZERO_WIDTH = "&#8203;"  # between the signs that would make a mention, a reference or a link


class Markup(str):
    """HTML that is finished: it goes into the page as it stands."""

    __slots__ = ()


def element(name: str, attributes: Mapping[str, str], *children: str) -> Markup:
    """One element. Children that are not `Markup`, and all attributes' values, are escaped."""
    written = "".join(f' {key}="{html.escape(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{join(*children)}</{name}>")


def join(*children: str) -> Markup:
    return Markup("".join(child if isinstance(child, Markup) else html.escape(child) for child in children))


def json_for_script(value: object) -> Markup:
    """JSON that can stand inside a script element: no sign in it can end the element or begin a comment.

    https://html.spec.whatwg.org/multipage/scripting.html#restrictions-for-contents-of-script-elements
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII alone, so U+2028 is escaped too
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def markdown(text: str) -> str:
    """One line of text that Markdown, GitHub's too, shows as it stands: no HTML, table border, mention or link."""
    line = " ".join(text.split())
    line = re.sub(r"[\\`*_{}\[\]<>()|~!$&\"^]", lambda sign: f"&#{ord(sign.group())};", line)
    line = re.sub(r"([@#])(?=\w)", rf"\1{_ZERO_WIDTH}", line)
    return re.sub(r"://|\bwww\.", lambda sign: sign.group()[:-1] + _ZERO_WIDTH + sign.group()[-1], line)
