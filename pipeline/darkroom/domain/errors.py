"""Errors that a user can mend, or can wait out. Anything else that is raised is our own fault."""

from darkroom.domain.secrets import redacted


class DarkroomError(ValueError):
    """Input that cannot be used. The text names the thing, the value and the remedy, in one line, without a secret."""

    def __init__(self, text: str) -> None:
        super().__init__(redacted(text))


class WrongModel(DarkroomError):
    """The files on this machine are not those that the job was started with: another machine may have them."""


def credentials_in(setting: str) -> DarkroomError:
    """Refuses an address without repeating it."""
    return DarkroomError(
        f"{setting}: credentials in an address end up in logs; take them out of it and use the environment, "
        "~/.aws or an instance role"
    )


class TryAgain(DarkroomError):
    """Nothing is wrong with the input: the same command, given again later, goes on."""


class EndsRun(Exception):
    """What one task met every other one would meet too: it is not charged, none is tried again, and the job ends."""
