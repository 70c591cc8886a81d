"""Files of the web, from real servers on loopback: one of plain HTTP, and one that speaks as the Hugging Face hub."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.prompts.opening import open_prompts
from darkroom.storage.web_files import fetched, web_place
from tests.prompts.reading import prompts

COMMIT = "c" * 40
ENDINGS = (".csv", ".txt")


@dataclass
class Web:
    """What a server has, by path, and what it was asked."""

    files: dict[str, bytes]
    types: dict[str, str] = field(default_factory=dict)
    num_broken: int = 0  # replies that break off in the middle
    after_break: bytes | None = None  # what the file holds once a reply broke off
    failures: list[int] = field(default_factory=list)  # statuses of the next replies
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # method, path, headers
    url: str = ""

    def handler(web) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self.do_GET()

            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                web.asked.append((self.command, path, dict(self.headers)))
                data = web.files.get(path)
                if web.failures or data is None:
                    self.send_error(web.failures.pop(0) if web.failures else 404)
                    return
                etag = f'"{hashlib.sha256(data).hexdigest()}"'
                if self.headers.get("If-None-Match") == etag:
                    self.send_response(304)
                    self.end_headers()
                    return
                start = int((self.headers.get("Range") or "bytes=0-")[6:].split("-")[0])
                if start > len(data):
                    self.send_error(416)
                    return
                self.send_response(206 if start else 200)
                self.send_header("ETag", etag)
                self.send_header("Content-Type", web.types.get(path, "application/octet-stream"))
                self.send_header("Content-Length", str(len(data) - start))
                self.send_header("X-Repo-Commit", COMMIT)
                self.end_headers()
                if self.command == "GET":
                    is_broken = web.num_broken > 0
                    web.num_broken -= is_broken
                    self.wfile.write(data[start : start + len(data) // 2 if is_broken else None])
                    if is_broken and web.after_break is not None:
                        web.files[path] = web.after_break

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler


@contextmanager
def served(web: Web) -> Iterator[Web]:
    with ThreadingHTTPServer(("127.0.0.1", 0), web.handler()) as server:
        web.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield web
        server.shutdown()
        thread.join()


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with served(Web({"/p.csv": b"prompt\na cat\na dog\n"})) as found:
        yield found


def test_an_address_is_fetched_where_that_is_allowed_and_again_only_when_it_changed(web: Web) -> None:
    uri = f"{web.url}/p.csv"
    with pytest.raises(DarkroomError, match=r"prompts\.allow_remote=true"):
        open_prompts(uri)
    assert web.asked == []
    first = open_prompts(uri, allow_remote=True)
    assert prompts(first) == ["a cat", "a dog"]
    again = open_prompts(uri, allow_remote=True)
    assert again.scan(1).fingerprint == first.scan(1).fingerprint
    assert [headers.get("If-None-Match") is not None for _, _, headers in web.asked] == [False, True]
    web.files["/p.csv"] = b"prompt\na cow\n"
    assert prompts(open_prompts(uri, allow_remote=True)) == ["a cow"]


def test_what_passes_is_tried_again_from_where_it_broke_off_and_what_does_not_is_told(web: Web) -> None:
    uri = f"{web.url}/p.csv"
    web.num_broken, web.failures = 1, [503]
    assert fetched(uri, "prompts.uri", delays_s=(0, 0)).read_bytes() == web.files["/p.csv"]
    assert [headers.get("Range") for _, _, headers in web.asked] == [None, None, "bytes=9-"]
    for failure, kind, words in ((403, DarkroomError, "replied 403"), (500, TryAgain, "cannot be fetched")):
        web.failures = [failure] * 3
        with pytest.raises(kind, match=f"prompts.uri={uri}: .*{words}"):
            fetched(uri, "prompts.uri", delays_s=(0, 0))


@pytest.mark.parametrize("changed", [b"prompt\na cow\na hen\nan owl\n", b"prompt\n"])
def test_halves_of_two_files_are_never_put_together(web: Web, changed: bytes) -> None:
    web.num_broken, web.after_break = 1, changed  # the server does not look at If-Range
    assert fetched(f"{web.url}/p.csv", "prompts.uri", delays_s=(0, 0)).read_bytes() == changed


def test_a_page_to_look_at_is_no_file_of_prompts(web: Web) -> None:
    web.types["/p.csv"] = "text/html; charset=utf-8"
    with pytest.raises(DarkroomError, match=r"a page to look at \(text/html\), not a file; give the address"):
        fetched(f"{web.url}/p.csv", "prompts.uri", delays_s=())


def test_what_is_too_large_or_has_credentials_is_refused(web: Web) -> None:
    with pytest.raises(DarkroomError, match=r"more than 5\.0 B"):
        fetched(f"{web.url}/p.csv", "prompts.uri", most_bytes=5)
    for secret in ("https://me:hidden@host/p.csv", "https://host/p.csv?token=hidden"):
        with pytest.raises(DarkroomError, match="credentials") as caught:
            web_place(secret, "prompts.uri", ENDINGS)
        assert "hidden" not in str(caught.value)


def test_an_address_without_an_ending_has_that_of_its_type(web: Web) -> None:
    web.files["/export"], web.types["/export"] = b"prompt\na cat\n", "text/csv; charset=utf-8"
    assert prompts(open_prompts(f"{web.url}/export?format=csv", allow_remote=True)) == ["a cat"]


# The hub -------------------------------------------------------------------------------------------------------------

_READ = """
import json, sys
from darkroom.domain.errors import DarkroomError
from darkroom.prompts.opening import open_prompts
for uri in sys.argv[1:]:
    try:
        dataset = open_prompts(uri, allow_remote=True)
        print(json.dumps([row.prompt for block in dataset.blocks() for row in block.rows]))
    except DarkroomError as error:
        print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_a_dataset_of_the_hub_is_a_folder(web: Web, tmp_path: Path) -> None:
    files = {
        "README.md": b"#",
        "data/a.csv": b"prompt\na cat\n",
        "data/b.jsonl": b'{"prompt": "a dog"}\n',
        "images/1.png": b"png",
    }
    siblings = [{"rfilename": name, "size": len(data), "blobId": "0" * 40} for name, data in files.items()]
    about = json.dumps({"_id": "0", "id": "me/mine", "sha": COMMIT, "siblings": siblings, "tags": []}).encode()
    tree = [{"type": "file", "path": name, "size": len(data), "oid": "0" * 40} for name, data in files.items()]
    for place in ("", "/revision/v1", f"/revision/{COMMIT}"):
        web.files[f"/api/datasets/me/mine{place}"] = about
    web.files[f"/api/datasets/me/mine/tree/{COMMIT}"] = json.dumps(tree).encode()
    web.files |= {f"/datasets/me/mine/resolve/{COMMIT}/{name}": data for name, data in files.items()}
    places = ["", "/data/*.csv", "@v1/data", "/nothing.csv"]
    uris = [*(f"hf://datasets/me/mine{place}" for place in places), "hf://datasets/me/other", "hf://models/me/mine"]
    environment = {**os.environ, "HF_ENDPOINT": web.url, "HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", _READ, *uris]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=100, check=False)
    said = [json.loads(line) for line in found.stdout.splitlines()]
    assert said[:3] == [["a cat", "a dog"], ["a cat"], ["a cat", "a dog"]], found.stderr
    assert "the dataset has no such file" in said[3]
    assert "hf://datasets/me/other: cannot be had from the hub" in said[4]
    assert "needed hf://datasets/<owner>/<name>" in said[5]
    assert not any(path.endswith((".png", ".md")) for _, path, _ in web.asked)
