"""Text for HTML, for data inside HTML, and for Markdown, such that none of it is taken for anything but text.

Knows nothing of reports. What is not `Markup` is escaped: a caller cannot forget to.
"""

import html
import json
import re
from collections.abc import Mapping

_VOID = {"meta", "link", "img", "input"}
_ZERO_WIDTH = "&#8203;"
# An underscore inside a word is an underscore everywhere.
_MARKDOWN_SIGNS = re.compile(
    r"(?P<link>://|\bwww\.)|(?P<mention>[@#](?=\w))|[\\`*{}\[\]<>()#|~!$&\"^]|_(?![^\W_])|(?<![^\W_])_"
)


class Markup(str):
    """HTML that is finished: it goes into the page as it stands."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


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
    return _MARKDOWN_SIGNS.sub(_as_text, " ".join(text.split()))


def _as_text(found: re.Match[str]) -> str:
    """A sign of Markdown as an entity; what GitHub makes a link is broken by a space that does not show."""
    sign = found.group()
    if found.lastgroup == "link":
        return f"{sign[:-1]}{_ZERO_WIDTH}{sign[-1]}"
    return f"{sign}{_ZERO_WIDTH}" if found.lastgroup == "mention" else f"&#{ord(sign)};"
