"""Answers of earlier rewritings, by their questions' digests: in the user's cache, in one file of SQLite.

What is lost there is asked again. Where the file cannot be used, answers are kept for this command alone.
"""

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from darkroom.rewriting.questions import Answer

_WAIT_S = 30.0  # for another command that writes
_AT_ONCE = 500  # variables of a statement


class AnswerCache:
    """Of one thread."""

    def __init__(self, path: Path) -> None:
        self.trouble = ""  # why the file cannot be used
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._answers = _opened(str(path))
        except (OSError, sqlite3.Error) as error:
            self._forget(error)

    def get(self, names: Iterable[str]) -> dict[str, Answer]:
        """Of those that are known."""
        try:
            return self._found(list(names))
        except sqlite3.Error as error:
            self._forget(error)
            return {}

    def put(self, name: str, answer: Answer) -> None:
        row = (name, answer.status, answer.text, answer.error)
        try:
            self._answers.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)
        except sqlite3.Error as error:
            self._forget(error)
            self._answers.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?, ?)", row)

    def close(self) -> None:
        self._answers.close()

    def _found(self, names: list[str]) -> dict[str, Answer]:
        found: dict[str, Answer] = {}
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            marks = ", ".join("?" * len(some))
            rows = self._answers.execute(f"SELECT * FROM answers WHERE name IN ({marks})", some)
            found |= {name: Answer(status, text, error) for name, status, text, error in rows}
        return found

    def _forget(self, error: Exception) -> None:
        self.trouble = str(error)
        self._answers = _opened(":memory:")


def _opened(place: str) -> sqlite3.Connection:
    found = sqlite3.connect(place, timeout=_WAIT_S, isolation_level=None)
    found.execute("PRAGMA synchronous = NORMAL")
    found.execute(
        "CREATE TABLE IF NOT EXISTS answers "
        "(name TEXT PRIMARY KEY, status TEXT NOT NULL, text TEXT NOT NULL, error TEXT) WITHOUT ROWID"
    )
    return found
