"""What a job's end is told to: a command or a webhook, given as `on_end`.

The address of a webhook may be a secret as a whole: of it nothing here says more than its host.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import IO, Any
from urllib.parse import urlsplit

from darkroom import __version__
from darkroom.domain.errors import DarkroomError

KEY = "on_end"
_ENVIRONMENT = "env:"
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_COMMAND_S, _CALL_S, _LONGEST_WAIT_S = 30.0, 5.0, 2.0  # a polite kill is most often followed by another soon
_NUM_CALLS, _ALL_CALLS_S = 3, 25.0
_MOST_SAID = 1000  # characters of what a command that failed printed, the last ones


class HookFailed(Exception):
    """It was not told; why, in one line without an address."""


class Hook(ABC):
    """Takes an outcome, once."""

    @abstractmethod
    def __str__(self) -> str:
        """For people, without a secret."""

    @abstractmethod
    def tell(self, outcome: Mapping[str, Any]) -> str:
        """Hand the outcome over; what it says to people. Raises HookFailed."""


def hook_of(on_end: str | None) -> Hook | None:
    """What `on_end` names, which is there. Raises DarkroomError where it is not."""
    if on_end is None:
        return None
    check_written(on_end)
    text, said = on_end, f"{KEY}={hidden(on_end)}"
    if on_end.startswith(_ENVIRONMENT):
        name = on_end.removeprefix(_ENVIRONMENT)
        text = os.environ.get(name, "").strip()
        if not text:
            raise DarkroomError(f"{said}: no environment variable {name} is set where the job runs; set it there")
        _check_text(text, said)
    if _ADDRESS.match(text):
        return Webhook(text)
    if program := _program(text):  # its path may have a space
        return Command((program,))
    command = shlex.split(text)
    program = _program(command[0])
    if program is None:
        raise DarkroomError(f"{said}: there is no program {command[0]}; give a command, or an http(s):// address")
    return Command((program, *command[1:]))


def _program(text: str) -> str | None:
    return shutil.which(os.path.expanduser(text))  # noqa: PTH111, `which` takes text


def check_written(on_end: str | None) -> None:
    """Raises DarkroomError for what can be neither a command nor an address; whether it is there is not looked for."""
    if on_end is None:
        return
    if not on_end.startswith(_ENVIRONMENT):
        _check_text(on_end, f"{KEY}={hidden(on_end)}")
    elif not on_end.removeprefix(_ENVIRONMENT).isidentifier():
        raise DarkroomError(f"{KEY}={on_end}: give the name of an environment variable, such as env:DARKROOM_ON_END")


def check_sent(on_end: str | None) -> None:
    """Raises DarkroomError for an address: the words of a job on a cluster are seen by many."""
    if on_end is not None and _ADDRESS.match(on_end):
        raise DarkroomError(
            f"{KEY}={hidden(on_end)}: whoever sees the cluster's jobs would see the address, which is most often a "
            f"secret; set a variable on its machines, and give {KEY}=env:NAME"
        )


def hidden(on_end: str) -> str:
    """With no more of an address than its host."""
    if not _ADDRESS.match(on_end):
        return on_end
    scheme, _, rest = on_end.partition("://")
    host = re.split(r"[/?#\\]", rest)[0].rpartition("@")[2]
    return f"{scheme}://{host}/***"


def _check_text(text: str, said: str) -> None:
    if _ADDRESS.match(text):
        if not _is_address(text):
            raise DarkroomError(f"{said}: no address; give it as https://host/path, without a user or a space in it")
        return
    if re.match(r"[a-z][a-z0-9+.-]*://", text, re.IGNORECASE):
        raise DarkroomError(f"{KEY}: {text.partition('://')[0]}:// is no webhook; give an http(s):// address")
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise DarkroomError(f"{said}: no command of a shell ({error}); mend its quotes") from None
    if not words:
        raise DarkroomError(f"{said}: the command is empty; give one")


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0 and "@" not in parts.netloc and _is_plain(text)
    except ValueError:
        return False


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable() and " " not in text


# Of both kinds -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Webhook(Hook):
    """Takes the outcome as the JSON body of a POST."""

    url: str = field(repr=False)

    def __str__(self) -> str:
        return hidden(self.url)

    def tell(self, outcome: Mapping[str, Any]) -> str:
        told: Future[int] = Future()
        threading.Thread(target=self._call, args=(outcome, told), name=KEY, daemon=True).start()
        try:
            status = told.result(_ALL_CALLS_S)
        except TimeoutError:  # each call waits for the next byte alone, and some may come for ever
            raise HookFailed(f"its answer did not end within {_ALL_CALLS_S:g} s") from None
        if not 200 <= status < 300:
            raise HookFailed(f"it answered with status {status}")
        return ""

    def _call(self, outcome: Mapping[str, Any], told: "Future[int]") -> None:
        from darkroom.rendering.http_calls import NoReply, call, patient_call

        headers = {"User-Agent": f"darkroom/{__version__}"}
        try:
            reply = patient_call(
                lambda: call(self.url, outcome, headers, _CALL_S),
                _NUM_CALLS,
                lambda seconds: time.sleep(min(seconds, _LONGEST_WAIT_S)),
            )
            told.set_result(reply.status)
        except NoReply as error:
            told.set_exception(HookFailed(str(error)))
        except Exception as error:
            told.set_exception(error)


@dataclass(frozen=True)
class Command(Hook):
    """Takes the outcome as JSON on its standard input, and each field as DARKROOM_<NAME> in its environment."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return self.words[0]

    def tell(self, outcome: Mapping[str, Any]) -> str:
        variables = {f"DARKROOM_{name.upper()}": "" if value is None else str(value) for name, value in outcome.items()}
        data = json.dumps(outcome, ensure_ascii=False).encode(errors="replace")
        # A file, and no pipe: that ends only when all that the command left running in the background has ended.
        with tempfile.TemporaryFile() as output:
            code = self._run(data, variables, output)
            output.seek(0)
            text = output.read().decode(errors="replace").strip()
        if code:
            last = f"... {text[-_MOST_SAID:]}" if len(text) > _MOST_SAID else text
            raise HookFailed(f"it ended with exit code {code}{f': {last}' if last else ''}")
        return text

    def _run(self, data: bytes, variables: Mapping[str, str], output: IO[bytes]) -> int:
        """The exit code."""
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": output, "stderr": subprocess.STDOUT}
        try:
            # In a session of its own: a signal to the job's group does not end it, and all of it can be ended.
            process = subprocess.Popen(self.words, env={**os.environ, **variables}, start_new_session=True, **pipes)
        except OSError as error:
            raise HookFailed(error.strerror or type(error).__name__) from None
        with process:
            try:
                process.communicate(data, _COMMAND_S)
            except subprocess.TimeoutExpired:
                _end(process)
                raise HookFailed(f"it did not end within {_COMMAND_S:g} s, and was ended") from None
            except BaseException:
                _end(process)
                raise
        return process.returncode


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
