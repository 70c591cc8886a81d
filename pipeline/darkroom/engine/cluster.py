"""The Ray that a job runs on: a cluster that is joined, or one of this machine alone that no other can reach.

The latter listens on loopback alone, behind a token, without a dashboard.
"""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import ray
from ray._private import auto_init_hook, ray_constants, services
from ray.job_config import JobConfig
from ray.util.client import ray as client

from darkroom.domain.errors import DarkroomError, TryAgain, first_line

_LONGEST_SOCKET = 103 if sys.platform == "darwin" else 107  # bytes of a path that a socket can be bound to
_IN_SESSION = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_LONGEST_FOLDER = _LONGEST_SOCKET - _IN_SESSION
_SHORT_FOLDER = "/tmp"
_CONNECT_S = 5.0

_LOGGERS = {"ray._private.worker": logging.ERROR, "ray._private.services": logging.CRITICAL}  # while Ray starts

_ends: list[threading.Event] = []  # of the threads that started a Ray, more than one where a caller shut Ray down
_CONNECTS_ITSELF = auto_init_hook.enable_auto_connect  # whether Ray does so elsewhere in this process
_num_running = 0  # runs, inside which Ray is never joined or started by itself
_changing = threading.Lock()


def start(address: str | None, num_workers: int | None = None) -> None:
    """Join the cluster at `address`, or start a Ray of this machine's own with room for the workers, on loopback."""
    if ray.is_initialized():
        _check_connected()
        _check_joined(address)
        return
    logging.getLogger("ray._private.authentication").setLevel(logging.ERROR)
    with _quiet():
        if threading.current_thread() is not threading.main_thread():
            _in_lasting_thread(lambda: _join_or_start(address, num_workers))
            return
        on_terminate = signal.getsignal(signal.SIGTERM)
        try:
            _join_or_start(address, num_workers)
        finally:
            signal.signal(signal.SIGTERM, on_terminate)  # Ray puts its own there


def _in_lasting_thread(start: Callable[[], None]) -> None:
    """Start Ray in a thread that lives until `stop`: Linux kills a local Ray's processes when the thread that started
    them ends, and a caller's thread may end while others still use that Ray.

    A daemon thread, which Python neither waits for nor ends before the threads that it waits for.
    """
    started, end = Future[None](), threading.Event()

    def run() -> None:
        try:
            start()
        except BaseException as error:
            started.set_exception(error)
        else:
            started.set_result(None)
            end.wait()

    threading.Thread(target=run, name="ray", daemon=True).start()
    started.result()
    _ends.append(end)


def _join_or_start(address: str | None, num_workers: int | None) -> None:
    try:
        if address:
            _check_answers(address)
            ray.init(address=address, logging_level="warning", log_to_driver=False)
        else:
            _start_local(max(num_workers or 1, os.cpu_count() or 1))
    except BaseException as error:  # Ray raises what it likes; a start that took too long is a plain Exception
        ray.shutdown()  # what of it is there already, which nobody else would end
        if isinstance(error, DarkroomError) or not isinstance(error, Exception):
            raise
        line = first_line(error)
        if address:
            raise DarkroomError(
                f"{_named_by(address)}: no Ray at {address} ({line}); start one there with `ray start --head`, or "
                "leave the address out for one of this machine's own"
            ) from error
        remedy = (
            f"name a folder that can be written as RAY_TMPDIR, such as {_SHORT_FOLDER}, or give the command again"
            if isinstance(error, OSError) and error.filename
            else "give the command again when the machine is less busy, or"
        )
        raise TryAgain(f"no Ray could be started on this machine ({line}); {remedy} with engine=local") from error


def _check_answers(address: str) -> None:
    """Raises OSError or ValueError where no Ray listens at an address, as Ray does after half a minute and pages of its
    log."""
    found = services.canonicalize_bootstrap_address(address)
    if found is None:  # `auto`, and none is known on this machine, which Ray says at once
        return
    parts = urlsplit(f"//{found}")
    with socket.create_connection((parts.hostname or "", parts.port or 0), _CONNECT_S) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with suppress(OSError):  # of TLS, say
            if connection.recv(5) == b"HTTP/":  # Ray's own answer is of HTTP/2, in binary frames
                raise ValueError("a web server such as Ray's dashboard; the port of Ray itself is 6379, unless named")


def _named_by(address: str) -> str:
    return "RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") == address else "engine.address"


@contextmanager
def _quiet() -> Iterator[None]:
    """Ray says that it could not put a handler of signals there, and what failed, which is raised too."""
    loggers = {logging.getLogger(name): level for name, level in _LOGGERS.items()}
    before = {logger: logger.level for logger in loggers}
    try:
        for logger, level in loggers.items():
            logger.setLevel(level)
        yield
    finally:
        for logger, level in before.items():
            logger.setLevel(level)


@contextmanager
def joined_alone() -> Iterator[None]:
    """Inside, calls of Ray without a Ray fail, where they would join or start any: a caller may shut it down."""
    global _num_running
    with _changing:
        _num_running += 1
        auto_init_hook.enable_auto_connect = False
    try:
        yield
    finally:
        with _changing:
            _num_running -= 1
            auto_init_hook.enable_auto_connect = _CONNECTS_ITSELF and not _num_running


def _check_connected() -> None:
    """Raises DarkroomError in a process that was forked off one that is in a Ray: there, calls of Ray never end.

    Of the parent's threads none lives on in it, as is the one that hears of errors in every process that joins a Ray.
    Also in one that has joined by a client, which has no state of the cluster.
    """
    if client.is_connected():
        raise DarkroomError(
            "engine=ray: this process is in a Ray by a client (ray://), by which workers are not reached; call "
            "ray.shutdown() first, or use engine=local"
        )
    listener = getattr(ray._private.worker.global_worker, "listener_thread", None)
    if listener is not None and not listener.is_alive():
        raise DarkroomError(
            "engine=ray: this process was forked off one that is in a Ray, and the connection does not outlive that; "
            "start processes by spawn, as multiprocessing.get_context('spawn') does, or use engine=local"
        )


def _check_joined(address: str | None) -> None:
    """Refuse an address that is not that of the Ray which this process has joined: it can be in one alone.

    The environment's is for processes that have joined none.
    """
    joined = ray.get_runtime_context().gcs_address
    if address in (None, "auto", joined):
        return
    if _named_by(address) == "RAY_ADDRESS":
        return
    if _resolved(address) != _resolved(joined):
        raise DarkroomError(
            f"engine.address={address}: this process is in the Ray at {joined} already; leave engine.address out to "
            "use that one, or call ray.shutdown() first"
        )


def _resolved(address: str) -> tuple[str, str]:
    """The (IP, port) of an address; this machine's own IPs are one."""
    host, _, port = address.rpartition(":")
    with suppress(OSError):
        host = socket.gethostbyname(host)
    return ("127.0.0.1" if host == ray.util.get_node_ip_address() else host), port


def stop() -> None:
    ray.shutdown()
    while _ends:
        _ends.pop().set()


def num_gpus() -> int:
    """Of the cluster that was joined."""
    return int(ray.cluster_resources().get("GPU", 0))


def _start_local(num_cpus: int) -> None:
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is reported to anybody
    if "RAY_AUTH_TOKEN_PATH" not in os.environ:  # Ray asks for a token of itself, and would keep one in the home folder
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    with _on_loopback():
        ray.init(
            address="local",
            num_cpus=num_cpus,
            include_dashboard=False,
            logging_level="warning",
            log_to_driver=False,
            job_config=_job_config(),
            _node_ip_address="127.0.0.1",
            _temp_dir=temp_dir(),
        )


def _job_config() -> JobConfig:
    """Workers look for modules in the working directory where this process does too, which the program `darkroom` does
    not. Ray would have them look there first, where a user's file may be called as a library is."""
    here = Path.cwd().resolve()
    is_seen = any(Path(folder).resolve() == here for folder in sys.path)
    return JobConfig(_py_driver_sys_path=[str(here)] if is_seen else [], _client_job=True)


def temp_dir() -> str | None:
    """A folder for Ray's sockets where they do not fit below TMPDIR, which Slurm and others make long, or where nothing
    can be written to it; else Ray's own.

    Raises DarkroomError where the folder that is named for Ray itself is too long.
    """
    named = os.environ.get("RAY_TMPDIR")
    if named and not _fits(named):
        raise DarkroomError(
            f"RAY_TMPDIR={named}: Ray's sockets do not fit below it; name a folder whose path has at most "
            f"{_LONGEST_FOLDER} bytes, such as {_SHORT_FOLDER}"
        )
    usual = os.environ.get("TMPDIR", _SHORT_FOLDER)
    return None if named or (_fits(usual) and os.access(usual, os.W_OK)) else f"{_SHORT_FOLDER}/ray"


def _fits(folder: str) -> bool:
    return len(os.fsencode(folder)) <= _LONGEST_FOLDER


@contextmanager
def _on_loopback() -> Iterator[None]:
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
