"""Starts a Ray of this machine's own that nobody else can reach: on loopback, behind a token, without a dashboard."""

import os
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray._private import ray_constants

from darkroom.domain.errors import DarkroomError

_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes of a path that a socket can be bound to
_IN_SESSION = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_LONGEST_FOLDER = _LONGEST_SOCKET - _IN_SESSION
_SHORT_FOLDER = "/tmp"


def start_own(num_cpus: int) -> None:
    """Start and join it."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:  # Ray asks for a token of itself, and would keep one in the home folder
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with _alone():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level="warning",
            log_to_driver=False,
            _node_ip_address="127.0.0.1",
            _temp_dir=_temp_dir(),
        )


def _temp_dir() -> str | None:
    """A folder for Ray's sockets where they do not fit below TMPDIR, which Slurm and others make long; else Ray's own.

    Raises DarkroomError where the folder that is named for Ray itself is too long.
    """
    named = os.environ.get("RAY_TMPDIR")
    if named and not _fits(named):
        raise DarkroomError(
            f"RAY_TMPDIR={named}: Ray's sockets do not fit below it; name a folder whose path has at most "
            f"{_LONGEST_FOLDER} bytes, such as {_SHORT_FOLDER}"
        )
    return None if named or _fits(os.environ.get("TMPDIR", _SHORT_FOLDER)) else f"{_SHORT_FOLDER}/ray"


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) <= _LONGEST_FOLDER


@contextmanager
def _alone() -> Iterator[None]:
    """Ray turns 127.0.0.1 into the machine's outer address and listens there, unless it may not make clusters."""
    name, allowed = ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR, ray_constants.ENABLE_RAY_CLUSTER
    before = os.environ.get(name)
    os.environ[name], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = allowed
        os.environ.pop(name)
        if before is not None:
            os.environ[name] = before
