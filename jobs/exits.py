"""The exit codes of every job, and which of several is said."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What became of a job; among those that a job returns, a later one is more urgent."""

    meaning: str

    def __new__(cls, number: int, meaning: str) -> "ExitCode":
        code = int.__new__(cls, number)
        code._value_ = number
        code.meaning = meaning
        return code

    OK = 0, "all well"
    CHECK_FAILED = 1, "a check failed: an image, a figure or a comparison is not what it should be"
    BAD_INPUT = 2, "the command cannot be run as given"
    ROWS_FAILED = 3, "records are failed or invalid, and the same command again leaves them so"
    OUR_FAULT = 70, "a fault of Darkroom's own, with its traceback"
    UNFINISHED = 75, "shards are missing or the store failed: the same command again goes on"
    INTERRUPTED = 130, "interrupted: the same command again goes on"


_URGENCY = list(ExitCode)


def most_urgent(*codes: ExitCode) -> ExitCode:
    """The one code of a job for which several hold."""
    return max(codes, key=_URGENCY.index, default=ExitCode.OK)
