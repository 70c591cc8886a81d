"""A command that is asked by lines of JSON on its standard input and answers by such lines on its standard output.

It runs in a session of its own, which is killed with all that it started when it is closed, when it dies, and when this
process ends in whatever way. Both of its outputs are read while a request is written, so that no full pipe stops either
side. `command_scorer.py` says what the lines hold.
"""

import json
import os
import platform
import selectors
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any

from darkroom.domain.errors import DarkroomError, EndsRun

_POLL_S = 0.25  # between looks at whether it has ended without a word
_GRACE_S = 3.0  # to end by itself once its input is closed
_CHUNK = 1 << 16  # bytes that are read or written at once
_LONGEST_LINE = 1 << 24  # bytes without an end that are kept
_LINES_KEPT, _LINES_SAID, _CHARS_SAID = 20, 3, 300
# Of the environment, what belongs to this Python and would lead another one to wrong packages.
_OWN = ("PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV", "__PYVENV_LAUNCHER__")
# Waits for a byte, or for the end of the process that holds the other end of its input: then kills the group. It is no
# child of that process, since Ray kills the children of a worker that ends, and not theirs.
_GUARD = "import os, sys\nif not os.fork() and not sys.stdin.buffer.read(1): os.killpg(int(sys.argv[1]), 9)"


class ScorerDied(DarkroomError):
    """The command ended, or did not answer in time; another start may well do better."""


class BrokenScorer(DarkroomError, EndsRun):
    """The command does not do what scorers do: none of its scores can be trusted."""


class LineProcess:
    """One running command. `ask` is called by one thread at a time; `close` by any, at any time."""

    def __init__(self, label: str, words: Sequence[str], variables: Mapping[str, str]) -> None:
        """`label` begins errors; `variables` are added to the environment. Raises DarkroomError where it cannot run."""
        self._label = label
        self._asking, self._ending = threading.Lock(), threading.Lock()
        self._is_ended = False
        self._said: deque[str] = deque(maxlen=_LINES_KEPT)
        self._objects: deque[dict[str, Any]] = deque()
        inherited = {name: value for name, value in os.environ.items() if name not in _OWN}
        environment = {**inherited, "PYTHONUNBUFFERED": "1", **variables}
        pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        try:
            self._process = subprocess.Popen(words, env=environment, start_new_session=True, bufsize=0, **pipes)
        except OSError as error:
            raise DarkroomError(
                f"{label}: {words[0]} cannot be run on {platform.node()} ({error.strerror}); install it there, or give "
                "its full path"
            ) from None
        guard = [sys.executable, "-I", "-S", "-c", _GUARD, str(self._process.pid)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, start_new_session=True, bufsize=0)
        self._guard.wait()
        self._stdin, self._stdout, self._stderr = (_piped(self._process, name) for name in pipes)
        self._partial = {self._stdout: b"", self._stderr: b""}  # lines without an end as yet; without pipes that ended
        for pipe in (self._stdin, self._stdout, self._stderr):
            os.set_blocking(pipe.fileno(), False)

    def ask(self, request: bytes, timeout_s: float, key: str) -> dict[str, Any]:
        """Write a request, which may be empty, and read the next object.

        `key`: the spec's that sets the time, for the error. Raises ScorerDied where none comes, and BrokenScorer where
        what comes is none.
        """
        deadline = time.monotonic() + timeout_s
        unsent = memoryview(request)
        with self._asking, selectors.DefaultSelector() as selector:
            self._check_is_asked(request)
            for pipe in self._partial:
                selector.register(pipe, selectors.EVENT_READ)
            if unsent:
                selector.register(self._stdin, selectors.EVENT_WRITE)
            while not self._objects:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise self._died(f"no answer within {key}={timeout_s:g}")
                ready = [found.fileobj for found, _ in selector.select(min(left, _POLL_S))]
                for there in ready:
                    if there is self._stdin:
                        unsent = self._written(unsent)
                    if not (unsent if there is self._stdin else self._read(there)):
                        selector.unregister(there)
                if not ready and (status := self._process.poll()) is not None:
                    raise self._died(_how(status))
        if unsent:
            raise BrokenScorer(f"{self._label}: it answered before it had read what it was asked")
        return self._objects.popleft()

    def _check_is_asked(self, request: bytes) -> None:
        """Nothing is there but what was asked for: else one answer would be taken for the next."""
        if self._stdin.closed:
            raise self._died("it was closed")
        for pipe in tuple(self._partial) if request else ():
            self._read(pipe)
        if self._objects:
            raise BrokenScorer(
                f"{self._label}: it answered more than it was asked: {self._objects[0]!r:.{_CHARS_SAID}}"
            )

    def close(self) -> None:
        """End it: by the end of its input where it is idle, and at once where it is at work or does not listen."""
        if self._asking.acquire(blocking=False):
            self._stdin.close()  # and nothing is asked any more
            self._asking.release()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_GRACE_S)
        self._kill()

    def _kill(self) -> None:
        with self._ending:
            if not self._is_ended:
                self._end()

    def _end(self) -> None:
        self._is_ended = True
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError), _piped(self._guard, "stdin") as pipe:
            pipe.write(b".")

    def _died(self, how: str) -> ScorerDied:
        self._kill()
        return ScorerDied(f"{self._label}: {how}{self._last_words()}")

    def _last_words(self) -> str:
        said = [line for line in self._said if line.strip()][-_LINES_SAID:]
        return f"; it said last: {' | '.join(said)}" if said else "; it said nothing"

    def _written(self, unsent: memoryview) -> memoryview:
        """What is left. Nothing is where it reads no more, which its end then tells."""
        try:
            return unsent[os.write(self._stdin.fileno(), unsent[:_CHUNK]) :]
        except BlockingIOError:
            return unsent
        except BrokenPipeError:
            return unsent[:0]

    def _read(self, pipe: Any) -> bool:
        """Take what is there; False at the pipe's end."""
        try:
            data = os.read(pipe.fileno(), _CHUNK)
        except BlockingIOError:
            return True
        *lines, rest = (self._partial[pipe] + data).split(b"\n")
        if not data or len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._partial[pipe] = rest
        for line in lines:
            self._take(pipe, line.strip())
        if not data:
            del self._partial[pipe]
        return bool(data)

    def _take(self, pipe: IO[bytes], line: bytes) -> None:
        """An object, or, of whatever a library prints, what may be its last words."""
        if pipe is self._stderr or not line.startswith(b"{"):
            self._said.append(line.rpartition(b"\r")[2].decode(errors="replace")[:_CHARS_SAID])
            return
        try:
            self._objects.append(_storable(json.loads(line)))
        except (ValueError, RecursionError):
            shown = line.decode(errors="replace")[:_CHARS_SAID]
            raise BrokenScorer(
                f"{self._label}: it wrote {shown!r}, which is no JSON, on its standard output; write what is no answer "
                "to its standard error"
            ) from None


def _storable(found: dict[str, Any]) -> dict[str, Any]:
    """With ? for halves of signs, as of UTF-16 that was cut: no file takes them."""
    kept: dict[str, Any] = json.loads(json.dumps(found, ensure_ascii=False).encode(errors="replace"))
    return kept


def _piped(process: subprocess.Popen[bytes], name: str) -> IO[bytes]:
    pipe: IO[bytes] = getattr(process, name)
    return pipe


def _how(status: int) -> str:
    if status >= 0:
        return f"it ended with exit status {status}"
    with suppress(ValueError):
        return f"it was ended by {signal.Signals(-status).name}"
    return f"it was ended by signal {-status}"
