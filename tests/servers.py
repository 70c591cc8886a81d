"""Real S3 servers on loopback, each its own process, and a proxy that spoils what passes: for every room's tests."""

import http.client
import os
import random
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import boto3

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test-secret",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def moto_server() -> Iterator[str]:
    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]

    with _server(command, lambda _: {}) as url:
        yield url


@contextmanager
def ministack_server(folder: Path) -> Iterator[str]:
    settings = {"BIND_HOST": "127.0.0.1", "S3_PERSIST": "1", "S3_DATA_DIR": str(folder), "SERVICES": "s3"}
    command = [sys.executable, "-m", "ministack"]
    with _server(lambda _: command, lambda port: {**settings, "GATEWAY_PORT": str(port)}) as url:
        yield url


def make_bucket(endpoint_url: str, name: str) -> None:
    boto3.client("s3", endpoint_url=endpoint_url).create_bucket(Bucket=name)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def _server(command: Callable[[int], list[str]], settings: Callable[[int], dict[str, str]]) -> Iterator[str]:
    """What `command` and `settings` start at a port; at another one where somebody else took it meanwhile."""
    for tries_left in (2, 1, 0):
        port = free_port()
        environment = {**os.environ, **CREDENTIALS, **settings(port)}
        process = subprocess.Popen(command(port), env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_for(port, process)
        except RuntimeError:
            process.kill()
            process.wait()
            if not tries_left:
                raise
        else:
            break
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def wait_for(port: int, process: subprocess.Popen) -> None:
    """Until the process listens there itself, as far as can be seen: where it cannot, it ends."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{process.args!r} did not start")


# A proxy that spoils what passes -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """What happens to one request. Give at most one of them."""

    status: int = 0  # answered at once; the server behind never hears of the request
    code: str = "InternalError"  # of that answer
    body: str = ""  # of that answer; when empty, an error with the code, as S3 writes it
    reset: bool = False  # the connection breaks before the request is passed on
    lost_reply: bool = False  # the request is done, then the connection breaks
    truncated: bool = False  # the reply's body ends half-way
    delay_s: float = 0.0  # passed on, and answered late


@dataclass
class _Planned:
    fault: Fault
    times: int
    method: str


class FaultyProxy:
    """Passes HTTP on to a real server, but for the requests that were planned to fail or that chance picks."""

    def __init__(self, upstream: str) -> None:
        self.requests: list[tuple[str, str]] = []  # (method, path), in order of arrival
        self.signed: list[str] = []  # the key id and the region that each was signed with, `key/day/region/...`
        self.num_spoiled = self.num_connections = 0
        self.stripped: frozenset[str] = frozenset()  # request headers, in lower case, that do not get through
        self._upstream = urlsplit(upstream)
        self._planned: list[_Planned] = []
        self._storm: tuple[Sequence[Fault], float, random.Random] = ((), 0.0, random.Random(0))
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def fail(self, fault: Fault, times: int = 1, method: str = "") -> None:
        """Spoil the next requests (of this method)."""
        with self._lock:
            self._planned.append(_Planned(fault, times, method))

    def storm(self, faults: Sequence[Fault], rate: float, seed: int = 0) -> None:
        """Spoil this share of all requests from now on."""
        with self._lock:
            self._storm = (faults, rate, random.Random(seed))

    def __enter__(self) -> "FaultyProxy":
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def next_fault(self, method: str, path: str) -> Fault:
        with self._lock:
            self.requests.append((method, path))
            for planned in self._planned:
                if planned.times and planned.method in ("", method):
                    planned.times -= 1
                    self.num_spoiled += 1
                    return planned.fault
            faults, rate, chance = self._storm
            spoils = bool(faults) and chance.random() < rate
            self.num_spoiled += spoils
            return chance.choice(faults) if spoils else Fault()

    def pass_on(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list, bytes]:
        """Writes go one at a time: moto checks a condition and writes in two steps, and may take both of two puts."""
        with self._writing if method == "PUT" else nullcontext():
            return self._asked_of_server(method, path, headers, body)

    def _asked_of_server(self, method: str, path: str, headers: dict[str, str], body: bytes) -> tuple[int, list, bytes]:
        kept = {name: value for name, value in headers.items() if name.lower() not in self.stripped | {"expect"}}
        connection = http.client.HTTPConnection(str(self._upstream.hostname), self._upstream.port, timeout=30)
        try:
            connection.request(method, path, body, kept)
            reply = connection.getresponse()
            return reply.status, reply.getheaders(), reply.read()
        finally:
            connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    proxy: FaultyProxy
    counting = threading.Lock()

    def process_request(self, request: object, client_address: object) -> None:
        with self.counting:
            self.proxy.num_connections += 1
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def process_request_thread(self, request: object, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)  # type: ignore[arg-type]
        finally:
            with self.counting:
                self.proxy.num_connections -= 1

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up waiting is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.proxy.signed.append(self.headers.get("Authorization", "").partition("Credential=")[2].split(",")[0])
        fault = self.server.proxy.next_fault(self.command, self.path)
        if fault.reset:
            return self._break()
        if fault.status:
            return self._refuse(fault)
        status, headers, data = self.server.proxy.pass_on(self.command, self.path, dict(self.headers.items()), body)
        time.sleep(fault.delay_s)
        if fault.lost_reply:
            return self._break()
        self._answer(status, headers, data[: len(data) // 2] if fault.truncated else data, len(data))
        if fault.truncated:
            self._break()
        return None

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle

    def _answer(self, status: int, headers: list, data: bytes, length: int) -> None:
        self.send_response_only(status)
        own = {"transfer-encoding", "connection"} | (set() if self.command == "HEAD" else {"content-length"})
        for name, value in headers:
            if name.lower() not in own:
                self.send_header(name, value)
        if self.command != "HEAD":
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _refuse(self, fault: Fault) -> None:
        data = (fault.body or f"<Error><Code>{fault.code}</Code><Message>spoiled</Message></Error>").encode()
        self._answer(fault.status, [("Content-Type", "application/xml")], data, len(data))

    def _break(self) -> None:
        """A reset, which is what a crashed server or a dropped route looks like, not an orderly end."""
        self.close_connection = True
        self.wfile.flush()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests`."""
