"""Values as the command line writes them, by Hydra's grammar.

https://hydra.cc/docs/advanced/override_grammar/basic/
"""

import re
from collections import Counter
from typing import Any

from hydra.core.override_parser.overrides_parser import create_functions
from hydra.core.override_parser.overrides_visitor import HydraErrorListener, HydraOverrideVisitor
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.grammar.gen.OverrideLexer import CommonTokenStream, InputStream, OverrideLexer
from hydra.grammar.gen.OverrideParser import OverrideParser

_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
_INTERPOLATION = re.compile(r"(\\*)\$\{")


class NoValue(Exception):
    """A text that the grammar does not take; several values, where `is_several`; with a key that is there `twice`."""

    def __init__(self, *, is_several: bool = False, twice: str | None = None) -> None:
        super().__init__()
        self.is_several = is_several
        self.twice = twice


def parsed(text: str) -> Any:
    """The value: its texts are texts, and nothing is filled in. Raises NoValue."""
    try:
        override = _override(text)
    except HydraException as error:
        raise NoValue from error
    if override.is_sweep_override():
        raise NoValue(is_several=True)
    return override.value()


def unquoted(text: str) -> str:
    """Without one pair of Hydra's quotes around all of it, and the backslashes that they need inside."""
    return str(_override(text).value()) if _QUOTED.fullmatch(text) else text


def escaped(value: Any) -> Any:
    """A value as a configuration holds it, where `${...}` in its texts would else be filled in."""
    if isinstance(value, str):
        return _INTERPOLATION.sub(lambda found: found[1] * 2 + "\\${", value)
    if isinstance(value, list):
        return [escaped(item) for item in value]
    if isinstance(value, dict):
        return {name: escaped(item) for name, item in value.items()}
    return value


def _override(text: str) -> Override:
    """As `OverridesParser.parse_override` of Hydra does, but that a key may not be there twice."""
    listener = HydraErrorListener()
    lexer = OverrideLexer(InputStream(f"value={text}"))
    parser = OverrideParser(CommonTokenStream(lexer))
    for part in (lexer, parser):
        part.removeErrorListeners()
        part.addErrorListener(listener)
    found: Override = _Visitor(create_functions()).visit(parser.override())
    found.validate()
    return found


class _Visitor(HydraOverrideVisitor):  # type: ignore[misc]
    """Which would else keep the last of two values of one key."""

    def visitDictContainer(self, ctx: OverrideParser.DictContainerContext) -> dict[str, Any]:
        pairs = [self.visitDictKeyValuePair(ctx.getChild(place)) for place in range(1, ctx.getChildCount() - 1, 2)]
        [(key, count)] = Counter(str(name) for name, _ in pairs).most_common(1) or [("", 0)]
        if count > 1:
            raise NoValue(twice=key)
        return dict(pairs)
