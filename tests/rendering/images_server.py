"""A server of OpenAI's images and chat APIs on this machine: pictures and answers by prompt and seed, and the faults
that servers have, asked for by words of the prompt.

    python -m tests.rendering.images_server PORT
"""

import base64
import io
import json
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

_PATHS = ("/v1/images/generations", "/v1/chat/completions")
REFUSED = {"code": "moderation_blocked", "message": "the safety system refuses this prompt", "type": "user_error"}


class ImagesServer(ThreadingHTTPServer):
    """Counts what it is asked for. `key`: what it wants as a bearer token; `takes_seed`: whether it heeds seeds;
    `num_together`: none is answered before so many have been asked for."""

    daemon_threads = True

    def __init__(
        self,
        port: int = 0,
        key: str | None = None,
        takes_seed: bool = True,
        delay_s: float = 0.0,
        num_together: int = 1,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.key, self.takes_seed, self.delay_s = key, takes_seed, delay_s
        self.meeting = threading.Barrier(num_together, timeout=60)
        self.bodies: list[dict[str, Any]] = []
        self.calls = Counter[str]()  # tries at each prompt
        self.num_at_once = self.most_at_once = 0
        self.counting = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class _Handler(BaseHTTPRequestHandler):
    server: ImagesServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self._is_let_in():
            self._answer(200, {"object": "list", "data": [{"id": "tiny"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        prompt = body["prompt"] if "prompt" in body else body["messages"][-1]["content"]
        if not self._is_let_in():
            return
        with self.server.counting:
            self.server.bodies.append(body)
            self.server.calls[prompt] += 1
            self.server.num_at_once += 1
            self.server.most_at_once = max(self.server.most_at_once, self.server.num_at_once)
        self.server.meeting.wait()
        time.sleep(self.server.delay_s)
        with self.server.counting:  # before the answer, after which the client may ask for its next image at once
            self.server.num_at_once -= 1
        self._generate(body, prompt.split(), self.server.calls[prompt])

    def _generate(self, body: dict[str, Any], words: list[str], attempt: int) -> None:
        if self.path not in _PATHS or body["model"] != "tiny":
            self._answer(404, {"error": {"code": "model_not_found", "message": f"no model {body['model']}"}})
        elif "forbidden" in words:
            self._answer(400, {"error": REFUSED})
        elif "busy" in words and attempt <= 2:
            self._answer(429, {"error": {"code": "rate_limit_exceeded", "message": "slow down"}}, {"Retry-After": "0"})
        elif "broke" in words:
            self._answer(429, {"error": {"code": "insufficient_quota", "message": "no credit is left"}})
        elif "down" in words or ("flaky" in words and attempt == 1):
            self._answer(500, {"error": {"message": "something is wrong here"}}, {"Retry-After": "0"})
        elif "odd" in words:
            self._answer(400, {"error": {"message": f"cannot do this, {self.headers.get('Authorization')}"}})
        elif "garbled" in words:
            self._send(200, b"<html>not JSON</html>", {})
        elif "linked" in words:
            self._answer(200, {"data": [{"url": "http://127.0.0.1/picture.png"}]})
        elif "torn" in words:
            self._answer(200, {"data": [{"b64_json": base64.b64encode(b"\x89PNG\r\n\x1a\nno").decode()}]})
        elif "silent" in words and attempt == 1:
            time.sleep(3)
            self.close_connection = True
        elif "elsewhere" in words:
            self._send(302, b"", {"Location": "http://127.0.0.1:1/"})
        elif "messages" in body:
            self._answer(200, {"choices": [self._choice(words, body.get("seed", 0))]})
        else:
            self._answer(200, {"created": 0, "data": [self._image(body)]})

    def _choice(self, words: list[str], seed: int) -> dict[str, Any]:
        said = f'"{" ".join(words)} in light {seed % 7}"'
        said = "I'm sorry, but I can't help with that." if "declined" in words else "" if "mute" in words else said
        reason = "length" if "endless" in words else "stop"
        return {"message": {"role": "assistant", "content": said}, "finish_reason": reason}

    def _image(self, body: dict[str, Any]) -> dict[str, Any]:
        width, height = map(int, body["size"].split("x"))
        if "small" in body["prompt"].split():
            width //= 2
        seed = body.get("seed", 0) if self.server.takes_seed else time.time_ns()
        rng = np.random.default_rng([zlib.crc32(body["prompt"].encode()), seed])
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)).save(file, "PNG")
        found = {"b64_json": base64.b64encode(file.getvalue()).decode()}
        revised = {"revised_prompt": f"{body['prompt']}, in oil"} if "revise" in body["prompt"].split() else {}
        return found | revised

    def _is_let_in(self) -> bool:
        if self.server.key in (None, (self.headers.get("Authorization") or "").removeprefix("Bearer ")):
            return True
        said = f"Incorrect API key provided: {self.headers.get('Authorization')}"
        self._answer(401, {"error": {"code": "invalid_api_key", "message": said}})
        return False

    def _answer(self, status: int, value: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        self._send(status, json.dumps(value).encode(), headers or {})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Nobody reads it."""


@contextmanager
def serving(**options: Any) -> Iterator[ImagesServer]:
    """A server in a thread of this process."""
    with ImagesServer(**options) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    with ImagesServer(int(sys.argv[1])) as process:
        process.serve_forever()
