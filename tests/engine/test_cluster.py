"""A Ray that we start is ours alone."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.engine.cluster import start, temp_dir
from tests.jobs.helpers import ROOT

LOOPBACK = ("0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000")

CODE = """
import os
from darkroom.engine import cluster
cluster.start(None, 1)
import ray
class Two:
    def token(self): return os.environ["RAY_AUTH_TOKEN"]
token = ray.get(ray.remote(Two).remote().token.remote())
assert len(token) == 64
print("started", ray.get_runtime_context().gcs_address, flush=True)
input()
cluster.stop()
"""


def listening() -> set[tuple[str, str]]:
    """(address, inode) of every TCP socket of this machine that listens."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return {(words[1].split(":")[0], words[9]) for words in lines if words[3] == "0A"}


def sockets(pid: int) -> set[str]:
    """Inodes of a process's sockets and of its children's; none of those that end meanwhile."""
    found, process = set(), Path(f"/proc/{pid}")
    with suppress(OSError):
        for link in (process / "fd").iterdir():
            with suppress(OSError):
                found.add(str(link.readlink()).removeprefix("socket:[").removesuffix("]"))
    with suppress(OSError):
        for task in (process / "task").iterdir():
            for child in (task / "children").read_text().split():
                found |= sockets(int(child))
    return found


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="looks at Linux's table of sockets")
def test_nobody_outside_this_machine_or_without_the_token_gets_in() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    process = subprocess.Popen([sys.executable, "-c", CODE], cwd=ROOT, env=environment, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    try:
        assert process.stdout
        address = process.stdout.readline().split()[1]
        ours = {place for place, inode in listening() if inode in sockets(process.pid)}
        assert ours
        assert ours <= set(LOOPBACK)
        stranger = [sys.executable, "-c", f"import ray; ray.init(address={address!r}, log_to_driver=False)"]
        with_other = {**environment, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0" * 64}
        with_other["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # or it would look at the machine's outer address
        asked = subprocess.run(stranger, env=with_other, capture_output=True, text=True, timeout=100, check=False)
        assert asked.returncode != 0
        assert "uthentication" in asked.stderr
    finally:
        process.communicate("\n", timeout=60)


LONG = "/tmp/" + "job_1355700_node_0016/" * 4


@pytest.mark.parametrize(
    ("names", "folder"),
    [
        ({}, None),
        ({"TMPDIR": "/tmp"}, None),
        ({"TMPDIR": "/tmp/nowhere"}, "/tmp/ray"),  # where nothing can be written
        ({"TMPDIR": LONG}, "/tmp/ray"),
        ({"TMPDIR": LONG, "RAY_TMPDIR": "/tmp/short"}, None),
    ],
)
def test_rays_sockets_get_a_folder_that_they_fit_in(
    names: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "RAY_TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    assert temp_dir() == folder


@pytest.mark.usefixtures("no_ray")
def test_a_folder_for_ray_itself_that_is_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", LONG)
    with pytest.raises(DarkroomError, match=r"RAY_TMPDIR=.*name a folder whose path has at most"):
        start(None)


def dead_port() -> int:
    """Where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@pytest.mark.slow
@pytest.mark.usefixtures("no_ray")
@pytest.mark.parametrize("place", ["127.0.0.1:{}", "localhost:{}", "[::1]:{}"])
def test_an_address_where_nobody_listens_is_refused_at_once(place: str, capfd: pytest.CaptureFixture[str]) -> None:
    address = place.format(dead_port())
    began = time.monotonic()
    with pytest.raises(DarkroomError) as caught:
        start(address)
    assert time.monotonic() - began < 40  # Ray itself would try for a minute or more
    assert str(caught.value).startswith(f"engine.address: no Ray at {address} (")
    assert str(caught.value).endswith("start one there with `ray start --head`, or leave the address out for one of "
                                      "this machine's own")  # fmt: skip
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.usefixtures("no_ray")
def test_a_web_server_and_what_is_no_address_are_refused_at_once() -> None:
    with ThreadingHTTPServer(("", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever).start()
        try:
            address = f"127.0.0.1:{server.server_port}"
            for given, why in ((address, "a web server such as Ray's dashboard"), ("head", "Invalid address format")):
                with pytest.raises(DarkroomError) as caught:
                    start(given)
                assert str(caught.value).startswith(f"engine.address: no Ray at {given} ({why}")
        finally:
            server.shutdown()
