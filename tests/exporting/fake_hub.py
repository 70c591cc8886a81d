"""A hub of dataset repositories in memory, served over HTTP: the calls that huggingface_hub makes to upload files, with
Git LFS for what is large or binary (https://github.com/git-lfs/git-lfs/blob/main/docs/api/batch.md)."""

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

TOKEN = "hf_writesTests123"
_PAGE = 5  # files of a listing's page
_REPO = r"/api/datasets/([\w.-]+/[\w.-]+)"


@dataclass
class Repo:
    private: bool
    files: dict[str, bytes] = field(default_factory=dict)
    commits: list[str] = field(default_factory=list)  # messages


@dataclass
class Hub:
    repos: dict[str, Repo] = field(default_factory=dict)
    large: dict[str, bytes] = field(default_factory=dict)  # by SHA-256
    num_uploads: int = 0  # of large files
    url: str = ""
    lock: Lock = field(default_factory=Lock)


def is_large(path: str) -> bool:
    return not path.endswith((".md", ".json", ".jsonl", "SHA256SUMS"))


def blob_id(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


@contextmanager
def served() -> Iterator[Hub]:
    hub = Hub()

    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if not self._is_allowed():
            return
        if match := re.fullmatch(_REPO, address.path):
            repo = self.hub.repos.get(match[1])
            self._answer({"id": match[1], "private": repo.private} if repo else None)
        elif match := re.fullmatch(_REPO + "/tree/main", address.path):
            self._list(self.hub.repos[match[1]], int(parse_qs(address.query).get("cursor", ["0"])[0]))
        else:
            self._answer(None)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self._is_allowed():
            return
        path = urlsplit(self.path).path
        with self.hub.lock:
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                self.hub.repos.setdefault(name, Repo(asked.get("visibility") == "private"))
                self._answer({"url": f"{self.hub.url}/datasets/{name}"})
            elif path == "/api/validate-yaml":
                yaml.safe_load(json.loads(body)["content"].split("---")[1])
                self._answer({"errors": [], "warnings": []})
            elif match := re.fullmatch(_REPO + "/preupload/main", path):
                self._answer(
                    {"files": [self._mode(self.hub.repos[match[1]], each) for each in json.loads(body)["files"]]}
                )
            elif path.endswith(".git/info/lfs/objects/batch"):
                self._answer({"objects": [self._action(each) for each in json.loads(body)["objects"]]})
            elif match := re.fullmatch(_REPO + "/commit/main", path):
                self._commit(self.hub.repos[match[1]], [json.loads(line) for line in body.splitlines()])
            else:
                self._answer(None)

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        oid = self.path.rpartition("/")[2]
        assert hashlib.sha256(data).hexdigest() == oid
        with self.hub.lock:
            self.hub.large[oid] = data
            self.hub.num_uploads += 1
        self._answer({})

    def _is_allowed(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._answer({"error": "Invalid credentials"}, 401)
        return False

    def _list(self, repo: Repo, start: int) -> None:
        names = sorted(repo.files)
        listed: list[dict[str, Any]] = []
        for name in names[start : start + _PAGE]:
            data = repo.files[name]
            about = {"type": "file", "path": name, "size": len(data), "oid": blob_id(data)}
            oid = hashlib.sha256(data).hexdigest()
            listed.append(
                {**about, "lfs": {"oid": oid, "size": len(data), "pointerSize": 130}} if is_large(name) else about
            )
        more = f'<{self.hub.url}{urlsplit(self.path).path}?cursor={start + _PAGE}>; rel="next"'
        self._answer(listed, headers={"Link": more} if names[start + _PAGE :] else {})

    def _mode(self, repo: Repo, asked: dict[str, Any]) -> dict[str, Any]:
        path = asked["path"]
        found = {"oid": blob_id(repo.files[path])} if path in repo.files and not is_large(path) else {}
        return {"path": path, "uploadMode": "lfs" if is_large(path) else "regular", "shouldIgnore": False, **found}

    def _action(self, asked: dict[str, Any]) -> dict[str, Any]:
        if asked["oid"] in self.hub.large:
            return asked
        return {**asked, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{asked['oid']}"}}}

    def _commit(self, repo: Repo, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            key, value = line["key"], line["value"]
            if key == "file":
                repo.files[value["path"]] = base64.b64decode(value["content"])
            elif key == "lfsFile":
                repo.files[value["path"]] = self.hub.large[value["oid"]]
            elif key == "deletedFile":
                del repo.files[value["path"]]
            else:
                repo.commits.append(value["summary"])
        url = f"{self.hub.url}{self.path.removeprefix('/api').replace('/commit/main', '/commit/')}{'0' * 40}"
        self._answer({"commitUrl": url, "commitOid": "0" * 40, "success": True})

    def _answer(self, found: object, code: int = 200, headers: dict[str, str] | None = None) -> None:
        """None: there is nothing."""
        data = json.dumps({"error": "Repository not found"} if found is None else found).encode()
        self.send_response(404 if found is None else code)
        for name, value in {**(headers or {}), **({"X-Error-Code": "RepoNotFound"} if found is None else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
