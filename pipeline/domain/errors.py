"""Errors that a user can mend, or can wait out. Anything else that is raised is our own fault."""


class DarkroomError(ValueError):
    """Input that cannot be used. The text names the thing, the value and the remedy, in one line."""


class TryAgain(DarkroomError):
    """Nothing is wrong with the input: the same command, given again later, goes on."""


class EndsRun(Exception):
    """What one task met every other one would meet too: it is not charged, none is tried again, and the job ends."""
