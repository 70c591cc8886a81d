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
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from darkroom import __version__
from darkroom.domain.errors import DarkroomError

KEY = "on_end"
_ENVIRONMENT = "env:"
_ADDRESS = re.compile(r"https?://", re.IGNORECASE)
_COMMAND_S, _CALL_S, _LONGEST_WAIT_S = 30.0, 5.0, 2.0  # a polite kill is most often followed by another soon
_NUM_CALLS = 3


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
        from darkroom.rendering.http_calls import NoReply, call, patient_call

        headers = {"User-Agent": f"darkroom/{__version__}"}
        try:
            reply = patient_call(
                lambda: call(self.url, outcome, headers, _CALL_S),
                _NUM_CALLS,
                lambda seconds: time.sleep(min(seconds, _LONGEST_WAIT_S)),
            )
        except NoReply as error:
            raise HookFailed(str(error)) from None
        if not 200 <= reply.status < 300:
            raise HookFailed(f"it answered with status {reply.status}")
        return ""


@dataclass(frozen=True)
class Command(Hook):
    """Takes the outcome as JSON on its standard input, and each field as DARKROOM_<NAME> in its environment."""

    words: tuple[str, ...]

    def __str__(self) -> str:
        return self.words[0]

    def tell(self, outcome: Mapping[str, Any]) -> str:
        variables = {f"DARKROOM_{name.upper()}": "" if value is None else str(value) for name, value in outcome.items()}
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        try:
            # In a session of its own: a signal to the job's group does not end it, and all of it can be ended.
            process = subprocess.Popen(self.words, env={**os.environ, **variables}, start_new_session=True, **pipes)
        except OSError as error:
            raise HookFailed(error.strerror or type(error).__name__) from None
        with process:
            try:
                said, _ = process.communicate(
                    json.dumps(outcome, ensure_ascii=False).encode(errors="replace"), _COMMAND_S
                )
            except subprocess.TimeoutExpired:
                _end(process)
                raise HookFailed(f"it did not end within {_COMMAND_S:g} s, and was ended") from None
            except BaseException:
                _end(process)
                raise
        text: str = said.decode(errors="replace").strip()
        if process.returncode:
            raise HookFailed(f"it ended with exit code {process.returncode}{f': {text}' if text else ''}")
        return text


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)
