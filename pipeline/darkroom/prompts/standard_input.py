"""Prompts from standard input, which can be read once: kept in a file as long as the process lives.

They are JSON lines where the first of them is an object, and else one prompt a line.
"""

import atexit
import hashlib
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path

from darkroom.domain.errors import DarkroomError

STANDARD_INPUT = "-"
_CHUNK_BYTES = 4 << 20
MOST_BYTES = 4 << 30


@cache
def kept_input() -> Path:
    """The file, named by what it holds; the same one whenever it is asked for."""
    if sys.stdin is None or sys.stdin.isatty():
        raise DarkroomError(
            "prompts.uri=-: standard input is a terminal; pipe prompts into the command, as by `< prompts.txt`"
        )
    folder = Path(tempfile.mkdtemp(prefix="darkroom-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    sha, first, part = hashlib.sha256(), b"", folder / "part"
    with part.open("wb") as target:
        while chunk := sys.stdin.buffer.read(_CHUNK_BYTES):
            first = first or chunk.removeprefix(b"\xef\xbb\xbf").lstrip()
            sha.update(chunk)
            target.write(chunk)
            if target.tell() > MOST_BYTES:
                raise DarkroomError(f"prompts.uri=-: more than {MOST_BYTES >> 30} GB; put it into a file and name that")
    if not first:
        raise DarkroomError("prompts.uri=-: standard input is empty; pipe prompts into the command")
    ending = "jsonl" if first.startswith(b"{") else "txt"
    return part.rename(folder / f"input-{sha.hexdigest()}.{ending}")
