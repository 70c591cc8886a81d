"""What answers questions: a model, or a server."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from darkroom.rewriting.questions import Answer, Question


class Rewriter(Protocol):
    """It is known before it is loaded; loading, or looking for the server, is `open`."""

    @property
    def name(self) -> str:
        """For people and records, such as Qwen2.5-1.5B-Instruct@sha256:0123456789ab."""
        ...

    @property
    def identity(self) -> Mapping[str, object]:
        """What its answers depend on beside the question, by names; nothing of this machine."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What is worth knowing of it, once it is open."""
        ...

    def open(self) -> None:
        """Get ready to answer. Raises DarkroomError where it cannot."""
        ...

    def answers(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """An answer to each, in any order."""
        ...
