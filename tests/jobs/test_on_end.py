"""What is told of a job's end, however it ends: by a real command, and to a real server."""

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError
from darkroom.jobs import hooks
from darkroom.jobs.cli import run_job, same_command
from darkroom.jobs.console import ExitCode
from darkroom.jobs.hooks import hidden, hook_of
from darkroom.runs import manifest
from darkroom.storage.store import open_store, parse_spec
from tests.jobs.helpers import PAINT
from tests.jobs.test_processes import CIRCLES, SLOW_PAINT
from tests.processes import Job, wait_for
from tests.servers import free_port

SECRET = "T0KEN5ecret"


class Webhook:
    """A server that takes POSTs, and answers with these statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        self.told: list[dict] = []
        left, told = list(statuses), self.told

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                told.append({"path": self.path, "body": json.loads(body), "kind": self.headers["Content-Type"]})
                self.send_response(left.pop(0) if left else 200)
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Tests read `told`."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/services/{SECRET}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    found = Webhook()
    yield found
    found.close()


@pytest.fixture
def command(tmp_path: Path) -> Path:
    """Keeps what it is told; one line of it for each time."""
    script = tmp_path / "on end.sh"
    script.write_text(
        f'#!/bin/sh\ncat >> "{tmp_path}/told"; echo >> "{tmp_path}/told"; env > "{tmp_path}/environment"\n'
        'echo "told of $DARKROOM_STATE"\n'
    )
    script.chmod(0o755)
    return script


def told(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "told").read_text().splitlines()]


def words(tmp_path: Path, *more: str) -> list[str]:
    return [*PAINT, "engine.shard_size=16", f"output.uri={tmp_path / 'run'}", *more]


# Every end -----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_command_is_told_of_a_good_end(tmp_path: Path, command: Path, capfd: pytest.CaptureFixture) -> None:
    given = words(tmp_path, f"on_end='{command}' 'x y'", "engine.price_per_hour=3600")
    assert run_job("generate", given) is ExitCode.OK
    [found] = told(tmp_path)
    assert (found["job"], found["run"], found["state"], found["exit_code"]) == (
        "generate",
        str(tmp_path / "run"),
        "ok",
        0,
    )
    assert (found["num_images"], found["num_failed"], found["error"]) == (64, 0, None)
    assert 0 < found["cost"] == pytest.approx(found["worker_seconds"])
    assert found["seconds"] > 0
    environment = dict(
        line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines() if "=" in line
    )
    assert environment["DARKROOM_EXIT_CODE"] == "0"
    assert environment["DARKROOM_NUM_IMAGES"] == "64"
    assert environment["DARKROOM_ERROR"] == ""
    assert "told of ok" in capfd.readouterr().out


@pytest.mark.slow
def test_a_webhook_is_told_of_failed_records_of_evaluations_and_of_refusals(tmp_path: Path, webhook: Webhook) -> None:
    (tmp_path / "prompts.csv").write_text("prompt,width\na,16\nb,16\nodd,13\n")
    prompts = ("prompts=file", f"prompts.uri={tmp_path / 'prompts.csv'}", "prompts.on_invalid=record")
    on_end = f"on_end={webhook.url}"
    run = f"run={tmp_path / 'run'}"
    assert run_job("generate", words(tmp_path, *prompts, on_end)) is ExitCode.ROWS_FAILED
    measured = (run, "engine=local", "extractors=[pixels]", "metrics=[pixels.vendi]", on_end)
    assert run_job("evaluate", measured) is ExitCode.OK
    with pytest.raises(DarkroomError):
        run_job("generate", words(tmp_path, "prompts=file", f"prompts.uri={tmp_path / 'none.csv'}", on_end))
    assert run_job("retry", (run, "engine=local", on_end)) is ExitCode.ROWS_FAILED
    failed, evaluated, refused, retried = (each["body"] for each in webhook.told)
    assert (failed["state"], failed["exit_code"], failed["num_images"]) == ("rows_failed", 3, 2)
    assert (evaluated["job"], evaluated["state"], evaluated["num_images"]) == ("evaluate", "ok", 2)
    assert (refused["state"], refused["exit_code"]) == ("bad_input", 2)
    assert "none.csv" in refused["error"]
    assert (retried["job"], retried["run"], retried["state"]) == ("retry", str(tmp_path / "run"), "rows_failed")
    assert {each["path"] for each in webhook.told} == {f"/services/{SECRET}"}
    assert {each["kind"] for each in webhook.told} == {"application/json"}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("kind", ["command", "webhook"])
def test_a_job_that_is_stopped_by_a_signal_tells_it(
    tmp_path: Path, command: Path, webhook: Webhook, number: int, kind: str
) -> None:
    on_end = f"on_end='{command}'" if kind == "command" else f"on_end={webhook.url}"
    given = (*SLOW_PAINT, *CIRCLES, "engine=local", "engine.shard_size=1", f"output.uri={tmp_path / 'run'}", on_end)
    store = open_store(parse_spec(str(tmp_path / "run")))
    job = Job("generate", given)
    wait_for(lambda: job.returncode is not None or sum(1 for _ in manifest.committed(store)) >= 4)
    job.send_signal(signal.Signals(number))
    said = job.end(60)
    assert job.returncode == 130
    [found] = told(tmp_path) if kind == "command" else [each["body"] for each in webhook.told]
    assert (found["state"], found["exit_code"], found["error"]) == ("interrupted", 130, None)
    assert found["num_images"] >= 2 * 8  # of two more shards the job may not have heard yet
    assert found["run"] == str(tmp_path / "run")
    assert SECRET not in said


@pytest.mark.slow
def test_a_fault_of_darkroom_is_told(tmp_path: Path, command: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("a fault")

    monkeypatch.setattr("darkroom.api.rendering.check", broken)
    with pytest.raises(RuntimeError):
        run_job("generate", words(tmp_path, f"on_end='{command}'"))
    [found] = told(tmp_path)
    assert (found["state"], found["exit_code"], found["error"]) == ("internal_error", 70, "RuntimeError: a fault")


# Hooks that fail -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_hook_that_fails_is_named_and_changes_nothing(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    given = words(tmp_path, "on_end=sh -c 'echo no room; exit 4'")
    assert run_job("generate", given) is ExitCode.OK
    assert "was not told of the job's end: it ended with exit code 4: no room" in capfd.readouterr().err
    given[-1] = f"on_end=http://127.0.0.1:{free_port()}/{SECRET}"
    assert run_job("generate", given) is ExitCode.OK
    said = capfd.readouterr()
    assert "/*** was not told of the job's end: [Errno 111] Connection refused" in said.err
    assert SECRET not in said.out + said.err


@pytest.mark.slow
def test_a_webhook_that_fails_for_a_moment_is_asked_again_and_no_redirect_is_followed() -> None:
    for statuses, is_told, num_calls in (((503, 429), True, 3), ((503, 503, 503), False, 3), ((302,), False, 1)):
        server = Webhook(*statuses)
        try:
            hook = hook_of(server.url)
            assert hook is not None
            if is_told:
                assert hook.tell({"job": "x"}) == ""
            else:
                with pytest.raises(hooks.HookFailed, match=f"it answered with status {statuses[-1]}"):
                    hook.tell({"job": "x"})
            assert len(server.told) == num_calls
        finally:
            server.close()


def test_a_command_that_does_not_end_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "_COMMAND_S", 1.0)
    hook = hook_of(f"sh -c 'sleep 300 & echo $! > {tmp_path}/pid; wait'")
    assert hook is not None
    with pytest.raises(hooks.HookFailed, match="it did not end within 1 s"):
        hook.tell({"job": "x"})
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not is_alive(pid), 10)


def test_a_command_that_leaves_something_running_has_ended_when_it_has(tmp_path: Path) -> None:
    hook = hook_of(f"sh -c 'sleep 300 & echo $! > {tmp_path}/pid; echo hi'")
    assert hook is not None
    assert hook.tell({"job": "x"}) == "hi"
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def test_of_much_that_a_failing_command_prints_the_end_is_said() -> None:
    hook = hook_of("sh -c 'seq 100000; exit 3'")
    assert hook is not None
    with pytest.raises(hooks.HookFailed, match=r"exit code 3: \.\.\. [\s\S]*100000$") as caught:
        hook.tell({"job": "x"})
    assert len(str(caught.value)) < 1100


def test_a_webhook_whose_answer_never_ends_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "_ALL_CALLS_S", 0.5)
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                while not ended.wait(0.05):
                    connection.sendall(b".")

        server = threading.Thread(target=drip)
        server.start()
        hook = hook_of(f"http://127.0.0.1:{listening.getsockname()[1]}/{SECRET}")
        assert hook is not None
        with pytest.raises(hooks.HookFailed, match=r"its answer did not end within 0.5 s"):
            hook.tell({"job": "x"})
        ended.set()
        server.join()


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


# What is refused, and what is hidden ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("on_end", "said"),
    [
        ("/nonexistent/program x", "there is no program /nonexistent/program"),
        ("a 'b", "no command of a shell"),
        (f"https:///{SECRET}", "no address; give it as https://host/path"),
        (f"https://host:port/{SECRET}", "no address"),
        (f"https://host/{SECRET} x", "no address"),
        (f"https://host/{SECRET}é", "no address"),
        (f"ftp://host/{SECRET}", "ftp:// is no webhook"),
        ("env:NOWHERE_SET", "no environment variable NOWHERE_SET is set"),
        ("env:", "give the name of an environment variable"),
    ],
)
def test_what_cannot_be_told_is_refused_before_any_work(on_end: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DarkroomError, match=said) as caught:
        run_job("generate", words(tmp_path, f'on_end="{on_end}"'))
    assert SECRET not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_an_address_is_in_nothing_that_is_printed_or_stored(
    tmp_path: Path, webhook: Webhook, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_job("generate", words(tmp_path, f"on_end={webhook.url}")) is ExitCode.OK
    monkeypatch.setenv("DARKROOM_ON_END", webhook.url)
    assert run_job("generate", words(tmp_path, "on_end=env:DARKROOM_ON_END")) is ExitCode.OK
    assert len(webhook.told) == 2
    said = capfd.readouterr()
    assert SECRET not in said.out + said.err
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
    assert SECRET not in same_command("generate", [f"on_end={webhook.url}"])
    assert hidden(f"https://user:pw@host:1/{SECRET}?x") == "https://host:1/***"
    assert SECRET not in repr(hook_of(webhook.url))


@pytest.mark.parametrize("on_end", ["env:HOOK", f"https://host/{SECRET}"])
def test_no_address_is_sent_to_a_cluster(on_end: str, capsys: pytest.CaptureFixture) -> None:
    given = ("job=generate", "output.uri=s3://bucket/run", "dry_run=true", f"on_end={on_end}")
    if on_end.startswith("env:"):
        assert run_job("submit", given) is ExitCode.OK
        assert "on_end=env:HOOK" in capsys.readouterr().out
        return
    with pytest.raises(DarkroomError, match="give on_end=env:NAME") as caught:
        run_job("submit", given)
    assert SECRET not in str(caught.value)


@pytest.mark.slow
def test_lines_of_json_stay_lines_of_json(tmp_path: Path, command: Path, capfd: pytest.CaptureFixture) -> None:
    assert run_job("generate", words(tmp_path, f"on_end='{command}'", "log=json")) is ExitCode.OK
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert lines[-1]["message"] == "told of ok"
    assert os.environ.get("DARKROOM_STATE") is None
