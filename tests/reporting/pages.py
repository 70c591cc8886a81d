"""Reports in folders of their own, opened in a real Chromium where there is one."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

from darkroom.reporting.content import ReportContent
from darkroom.reporting.publishing import publish, report_files
from darkroom.storage.local import LocalStore
from darkroom.storage.store import StoreSpec

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--virtual-time-budget=20000",
    "--dump-dom",
)  # fmt: skip


def write_report(content: ReportContent, folder: Path) -> Path:
    """The path of its index.html."""
    return Path(publish(report_files(content), LocalStore(StoreSpec(str(folder))), ""))


def run_page(folder: Path, script: str, address: str = "", width: int = 1280) -> tuple[dict, list[str]]:
    """Open a report, run the body of a function in it, return what it returns, and the console's lines.

    `address`: what follows the page's name, such as #cells; `width`: of the window, in pixels.
    """
    index = folder / "index.html"
    body = f"const driven = (() => {{ {script} }})(); document.body.dataset.driven = JSON.stringify(driven);"
    (folder / "drive.js").write_text(body)
    page = index.read_text().replace("</head>", '<script src="drive.js" defer></script></head>')
    index.write_text(page)
    places = f"--user-data-dir={folder / 'profile'}", f"--window-size={width},1000"
    command = [str(CHROMIUM), *_FLAGS, *places, index.as_uri() + address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-driven="([^"]*)"', done.stdout)
    assert found, f"the page did not run to its end: {done.stderr[-2000:]}"
    return json.loads(html.unescape(found[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]
