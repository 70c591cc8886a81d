"""How a server with OpenAI's API is reached: its address, the variable that holds its key, and patience with it.

A key is read from the environment of the process that uses it and kept nowhere else.
"""

import os
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from darkroom.domain.errors import DarkroomError, credentials_in, has_credentials

_VARIABLE = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True)
class ServerAccess:
    """What a person gives of it. `group`: of the keys that it is given by, for errors, such as "model.options"."""

    base_url: str
    key_variable: str | None
    timeout_s: float
    max_attempts: int
    group: str
    model: str  # the key that names the model, with its value, such as "model.repo_id=gpt-image-1"
    made: str = "image"  # what one call makes, for errors

    def check(self) -> None:
        """Raises DarkroomError for an address that is none, or a key that is not there."""
        if has_credentials(self.base_url):
            raise credentials_in(f"{self.group}.base_url")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise DarkroomError(
                f"{self.group}.base_url={self.base_url}: give an address such as http://127.0.0.1:8000/v1"
            )
        _ = self.key

    @property
    def key(self) -> str | None:
        """From the environment of this process. Raises DarkroomError where it is not there, or can be no key."""
        variable, setting = self.key_variable, f"{self.group}.key_variable"
        if variable is None:
            return None
        if not _VARIABLE.fullmatch(variable):  # not repeated: it may be the key itself
            raise DarkroomError(f"{setting}: give the name of a variable, such as OPENAI_API_KEY")
        key = os.environ.get(variable, "")
        if not key:
            raise DarkroomError(f"{setting}={variable}: this process has no such variable; export it")
        if not (key.isascii() and key.isprintable()) or key != key.strip():
            raise DarkroomError(f"{setting}={variable}: what it holds is no key: it has blanks or breaks")
        return key
