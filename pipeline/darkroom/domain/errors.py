"""Errors that a user can mend, or can wait out, and what no text may say: credentials in addresses.

Anything else that is raised is our own fault. An address with credentials is refused where a command is read; what
errors say is cleared of them besides, since a library, an environment variable or an old file may bring one.
"""

import re


class DarkroomError(ValueError):
    """Input that cannot be used. The text names the thing, the value and the remedy, in one line, without a secret."""

    def __init__(self, text: str) -> None:
        super().__init__(redacted(text))


class MissingPackage(DarkroomError):
    """An optional package is needed and not installed: no other file or place would do."""


class WrongModel(DarkroomError):
    """This machine lacks what the job was started with, such as the same files: another machine may have it."""


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


def first_line(error: BaseException) -> str:
    """What an error says, as far as its first line; its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def type_and_line(error: BaseException) -> str:
    """Of an error of somebody else's code: its type, and its first line where it has one."""
    name, line = type(error).__name__, first_line(error)
    return name if line == name else f"{name}: {line}"


# Credentials ---------------------------------------------------------------------------------------------------------

_HIDDEN = "***"
_SCHEME = r"(?P<scheme>(?<![a-z0-9+.-])[a-z][a-z0-9+.-]+:/{1,2})"
_PORT = r"\d{1,5}(?:[\s/?#,;:)'\"\]]|$)"
_PARAMETER = (
    r"[\w.-]*(?:signature|token|secret|passw|pwd|credential|accesskey|access[-_]key|api[-_]?key)[\w.-]*"
    r"|sig|key|auth|authorization|sas"
)
# Up to the last @ of the host's part, or, where a password holds a slash, of the whole word.
_USER = re.compile(rf"{_SCHEME}(?:[^\s/?#]*@|[^\s/?#:]*:(?!{_PORT})[^\s]*@)", re.IGNORECASE)
_BARE_USER = re.compile(r"(?<![\w:.@+-])[\w.+-]+:[^\s/@:'\"]+@(?=[\w\[])")  # user:password@host without a scheme
_QUERY = re.compile(rf"(?P<name>[?&;](?:{_PARAMETER})=)(?!\*\*\*)[^&;\s'\"\])]+", re.IGNORECASE)
_PRIVATE_KEY = re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.DOTALL)
_TOKEN = re.compile(r"\b(?:hf_[A-Za-z0-9]{8,}|(?:AKIA|ASIA)[A-Z0-9]{12,}|gh[pousr]_[A-Za-z0-9]{16,})")


def has_credentials(address: str) -> bool:
    """Whether a user, a password, a signature or a token is part of an address in this text."""
    return any(pattern.search(address) for pattern in (_USER, _QUERY)) or bool(_BARE_USER.match(address))


def redacted(text: str) -> str:
    """The text, with what is secret in its addresses hidden, and private keys and tokens of known shapes too."""
    text = _PRIVATE_KEY.sub(rf"\g<1>{_HIDDEN}", text)
    text = _USER.sub(rf"\g<scheme>{_HIDDEN}@", text)
    text = _QUERY.sub(rf"\g<name>{_HIDDEN}", text)
    return _TOKEN.sub(_HIDDEN, _BARE_USER.sub(f"{_HIDDEN}@", text))
