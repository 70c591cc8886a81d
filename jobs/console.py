"""What a shell sees of a job besides its output: exit codes, and streams that outlive whoever reads them.

A pipe that closes, a full disk and an encoding without a letter must neither end a job nor show a traceback: what
cannot be printed is replaced or dropped, and the job goes on.
"""

import errno
import io
import json
import os
import sys
import threading
from datetime import UTC, datetime
from enum import IntEnum
from typing import TextIO

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.storage.store import StoreError

_REMEDIES = {  # of what a disk refuses outside a store
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "make room there"),
    errno.EROFS: "make it writable",
    errno.EACCES: "make it readable and writable for you",
}
_STREAMS = {1: "stdout", 2: "stderr"}


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
    ROWS_FAILED = 3, "records are failed, invalid or filtered, and the same command again leaves them so"
    INTERNAL_ERROR = 70, "a fault of Darkroom, with its traceback"
    UNFINISHED = 75, "shards are missing or the store failed: the same command again goes on"
    INTERRUPTED = 130, "interrupted: the same command again goes on"


_URGENCY = list(ExitCode)


def code_of(number: int | None) -> ExitCode | None:
    """Of a process that may be one of ours; None for another."""
    return next((code for code in ExitCode if code == number), None)


def most_urgent(*codes: ExitCode) -> ExitCode:
    """The one code of a job for which several hold."""
    return max(codes, key=_URGENCY.index, default=ExitCode.OK)


def explained(error: BaseException) -> tuple[ExitCode, str | None]:
    """What it means that a job ended by this error, and a line for people; None where it is a fault, or no error."""
    match error:
        case TryAgain():
            return ExitCode.UNFINISHED, str(error)
        case DarkroomError():
            return ExitCode.BAD_INPUT, str(error)
        case StoreError():
            return ExitCode.UNFINISHED, f"{error}; then the same command goes on"
        case KeyboardInterrupt():
            return ExitCode.INTERRUPTED, None
        case OSError(errno=number, filename=filename) if number in _REMEDIES and filename:
            remedy = f"{_REMEDIES[number]}; then give the same command again"
            return ExitCode.UNFINISHED, f"{filename}: {error.strerror}; {remedy}"
    return ExitCode.INTERNAL_ERROR, None


# Streams -----------------------------------------------------------------------------------------------------------


def guard() -> None:
    """Make this process's streams such ones. Harmless when done twice."""
    _open_missing()
    for handle, name in _STREAMS.items():
        stream = getattr(sys, name)
        if stream is None:
            stream = io.TextIOWrapper(os.fdopen(handle, "wb", closefd=False), "utf-8")
        if not isinstance(stream, _Lasting):
            guarded = _Lasting(stream, handle)
            setattr(sys, name, guarded)
            setattr(sys, f"__{name}__", guarded)


def answer(text: str) -> ExitCode:
    """Print what was asked for, and say whether it came through: nothing else is done that could go on."""
    if isinstance(sys.stdout, _Lasting):
        sys.stdout.goes_on = False
    print(text, flush=True)
    return ExitCode.CHECK_FAILED if getattr(sys.stdout, "is_lost", False) else ExitCode.OK


def _open_missing() -> None:
    """Streams that the caller closed lead nowhere; else the next file that is opened would take their number."""
    for handle in (0, *_STREAMS):
        try:
            os.fstat(handle)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest free number: this one


class _Lasting(io.TextIOWrapper):
    """A stream that never raises for what becomes of its text."""

    def __init__(self, stream: io.TextIOWrapper, handle: int) -> None:
        encoding, line_buffering = stream.encoding, stream.line_buffering
        super().__init__(stream.detach(), encoding, errors="replace", line_buffering=line_buffering)
        self._handle = handle
        self.is_lost = False  # whether text was lost that somebody may still wait for
        self.goes_on = True  # whether there is work that does

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        """Lead the rest nowhere, what is still buffered too. A reader that has gone needs no word; a full disk does."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._handle)
        os.close(nowhere)
        self.is_lost = error.errno != errno.EPIPE
        if self.is_lost and self is sys.stdout:
            reason = error.strerror or type(error).__name__
            remedy = "the job goes on" if self.goes_on else "print it to where there is room"
            print(f"darkroom: what is printed is lost ({reason}); {remedy}", file=sys.stderr, flush=True)


class JsonLines(io.TextIOBase):
    """Writes each line of text as a JSON object with its time and message; one that is an object already stays."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = threading.local()  # each thread's line that has no end yet

    def write(self, text: str) -> int:
        *lines, self._begun.text = (getattr(self._begun, "text", "") + text).split("\n")
        for line in filter(str.strip, lines):
            self._stream.write(f"{line if _is_object(line) else _message(line)}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def close(self) -> None:
        """Write what has no end yet; the stream stays open."""
        if getattr(self._begun, "text", "").strip():
            self.write("\n")
        self.flush()


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except ValueError:
        return False


def _message(line: str) -> str:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return json.dumps({"time": now, "message": line.strip()}, ensure_ascii=False)
