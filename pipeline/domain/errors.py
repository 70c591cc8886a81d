"""The error that a user can mend. Anything else that is raised is our own fault."""


class DarkroomError(ValueError):
    """Input that cannot be used. The text names the thing, the value and the remedy, in one line."""


class WrongModel(DarkroomError):
    """The files on this machine are not those that the job was started with: another machine may have them."""
