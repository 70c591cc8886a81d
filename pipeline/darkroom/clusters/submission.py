"""A job as it is handed to a cluster: its words, and the name that follows from them."""

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from darkroom.domain.identity import digest

PREFIX = "darkroom-"
_DIGITS = 10  # of the digest, in hexadecimal


@dataclass(frozen=True)
class Submission:
    """One attempt at a job. The words hold no secret: addresses with credentials are refused where they are read."""

    job: str
    words: tuple[str, ...]  # `key=value`, as a process is given them
    attempt: int = 1

    @property
    def family(self) -> str:
        """What all attempts at this job are called before their number: the same words have the same name."""
        return f"{PREFIX}{self.job}-{digest(self.job, *self.words, length=_DIGITS)}"

    @property
    def name(self) -> str:
        """Such as darkroom-sweep-0123456789-2: at most 40 characters, for a RayJob's name has at most 47."""
        return f"{self.family}-{self.attempt}"

    def command(self, program: str) -> str:
        """The line of shell that does it."""
        return shlex.join([program, self.job, *self.words])


def last_attempt(family: str, names: Iterable[str]) -> int:
    """The highest number of an attempt among names of jobs, and 0 where there is none."""
    pattern = re.compile(rf"{re.escape(family)}-(\d+)")
    return max((int(found[1]) for name in names if (found := pattern.fullmatch(name))), default=0)
