"""A real Chromium that is driven as a person does: keys, sizes, downloads; by its protocol, over a pipe.

https://chromedevtools.github.io/devtools-protocol/
"""

import base64
import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from tests.reporting.pages import CHROMIUM

_FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "about:blank")
_ABOVE = 20  # numbers of handles that the shell does not need itself
_CODES = {"ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9, "Enter": 13}


@dataclass
class Tab:
    """A page in the browser."""

    writes: int  # file handles
    reads: int
    session: str = ""
    console: list[str] = field(default_factory=list)  # errors and warnings
    _ids: Iterator[int] = field(default_factory=lambda: count(1))
    _rest: bytes = b""

    def call(self, method: str, **given: Any) -> dict[str, Any]:
        """Raises RuntimeError for what the browser refuses."""
        number = next(self._ids)
        message = {"id": number, "method": method, "params": given}
        os.write(
            self.writes, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while True:
            answer = self._read()
            if answer.get("id") == number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            self._hear(answer)

    def evaluate(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise."""
        found = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def open(self, page: Path, ready: str) -> None:
        """A file, until an expression is true in it."""
        self.call("Page.navigate", url=page.as_uri())
        self.wait(ready)

    def wait(self, ready: str) -> None:
        script = f"""new Promise((done, fail) => {{
            const end = performance.now() + 10000;
            const look = () => {{
              let is = false;
              try {{ is = document.readyState === "complete" && ({ready}); }} catch {{ is = false; }}
              if (is) done(true);
              else if (performance.now() > end) fail(new Error("never"));
              else setTimeout(look, 5);
            }};
            look();
        }})"""
        self.evaluate(script)

    def press(self, *keys: str) -> None:
        for key in keys:
            code = _CODES.get(key, ord(key.upper()) if len(key) == 1 else 0)
            text = {"text": key} if len(key) == 1 else {}
            self.call("Input.dispatchKeyEvent", type="keyDown", key=key, windowsVirtualKeyCode=code, **text)
            self.call("Input.dispatchKeyEvent", type="keyUp", key=key, windowsVirtualKeyCode=code)

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 700
        )

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self.reads, 1 << 16)
            if not more:
                raise RuntimeError("the browser ended")
            self._rest += more
        message, self._rest = self._rest.split(b"\0", 1)
        return json.loads(message)

    def _hear(self, event: dict[str, Any]) -> None:
        method, about = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            self.console.append(str(about["exceptionDetails"]))
        if method == "Log.entryAdded":
            self.console.append(about["entry"]["text"])
        if method == "Page.javascriptDialogOpening":
            message = {"id": next(self._ids), "method": "Page.handleJavaScriptDialog", "params": {"accept": True}}
            os.write(self.writes, json.dumps(message | {"sessionId": self.session}).encode() + b"\0")


@contextmanager
def browser(folder: Path) -> Iterator[Tab]:
    """A tab, whose downloads go to `folder / "downloads"`."""
    from_us, writes = (fcntl.fcntl(handle, fcntl.F_DUPFD, _ABOVE) for handle in os.pipe())
    reads, from_it = (fcntl.fcntl(handle, fcntl.F_DUPFD, _ABOVE) for handle in os.pipe())
    shell = f'exec "$@" 3<&{from_us} 4>&{from_it}'
    command = [
        "bash",
        "-c",
        shell,
        "_",
        str(CHROMIUM),
        *_FLAGS[:-1],
        f"--user-data-dir={folder / 'profile'}",
        _FLAGS[-1],
    ]
    process = subprocess.Popen(command, pass_fds=(from_us, from_it), stderr=subprocess.DEVNULL)
    os.close(from_us)
    os.close(from_it)
    try:
        tab = Tab(writes, reads)
        target = tab.call("Target.createTarget", url="about:blank")["targetId"]
        tab.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder / "downloads"))
        tab.session = tab.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            tab.call(f"{domain}.enable")
        yield tab
    finally:
        process.kill()
        process.wait()
        os.close(writes)
        os.close(reads)
