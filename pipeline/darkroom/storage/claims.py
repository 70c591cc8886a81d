"""A folder's claim: the file that says what a job fills the folder with, put before anything else.

The same command goes on with the folder; another one is refused by what differs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.storage.store import NotFound, Store, StoreError


@dataclass(frozen=True)
class Claim:
    """What claims of one kind are called. `to` is the key that names the folder."""

    key: str  # of the file
    noun: str  # what the folder is then, such as "an export"
    remedy: str  # beside another folder, such as "the same words on the same images"

    def check_free(self, to: Store) -> None:
        """Raises DarkroomError for a folder that holds something, and no claim."""
        if self._found(to) is None and (first := next(to.list(), None)):
            raise DarkroomError(
                f"to={to.spec.uri}: {first.key} lies there, and no {self.key} that says it is {self.noun}; give a new "
                "or an empty folder"
            )

    def check(self, to: Store, wanted: Mapping[str, Any], data: bytes) -> None:
        """As `put`, and nothing is put. Raises DarkroomError."""
        self.check_free(to)
        if (before := self._found(to)) not in (None, data):
            raise self._refusal(to, wanted, before)

    def put(self, to: Store, wanted: Mapping[str, Any], data: bytes) -> None:
        """Put `data`, which is `wanted` as JSON. Raises DarkroomError where the folder is of something else."""
        try:
            is_first = to.put_if_absent(self.key, data, "application/json")
        except StoreError:
            raise
        except OSError as error:
            raise DarkroomError(
                f"to={to.spec.uri}: cannot be written ({error.strerror}); make it writable, or name another folder"
            ) from error
        if not is_first and (before := self._found(to)) != data:
            raise self._refusal(to, wanted, before)

    def _refusal(self, to: Store, wanted: Mapping[str, Any], before: bytes | None) -> DarkroomError:
        bare = self.noun.partition(" ")[2]
        try:
            found = json.loads(before or b"")
            name = next(name for name in wanted if found.get(name) != wanted[name])
        except (ValueError, AttributeError, StopIteration):
            return DarkroomError(
                f"{to.describe(self.key)}: not readable as {self.noun}'s; remove the folder, or give another one"
            )
        return DarkroomError(
            f"{to.describe(self.key)}: {name} is {_shown(found.get(name))} in the {bare} that is there, and "
            f"{_shown(wanted[name])} in this one; give another folder, or {self.remedy}"
        )

    def _found(self, to: Store) -> bytes | None:
        try:
            return to.get(self.key)
        except NotFound:
            return None


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}..."
