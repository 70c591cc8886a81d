"""Whether texts of other tools hold weights or LoRAs, so that their rows say `prompt_syntax`, and plain ones do not."""

import re

from darkroom.domain.errors import DarkroomError
from darkroom.domain.prompt_syntax import A1111, read_prompt

_SIGNS = re.compile(r"[()\[\]\\<]|\b(BREAK|AND)\b")  # of texts that may


def is_marked(text: str) -> bool:
    """Whether AUTOMATIC1111's syntax reads it otherwise than as its words, or not at all."""
    if not _SIGNS.search(text):
        return False
    try:
        found = read_prompt(text, A1111)
    except DarkroomError:
        return True
    return bool(found.loras) or found.parts != ((text, 1.0),)


def with_syntax(row: dict[str, object]) -> dict[str, object]:
    """The row with its `prompt_syntax`, where its texts are marked."""
    texts = (row.get(name) for name in ("prompt", "negative_prompt"))
    return row | {"prompt_syntax": A1111} if any(isinstance(text, str) and is_marked(text) for text in texts) else row
