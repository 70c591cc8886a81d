"""Gathers the documentation site in a folder, to be built there: pages of infra/docs, and those that the sources make.

python infra/docs_pages.py build/docs
"""

import shutil
import sys
from pathlib import Path

from darkroom.conf.reference import reference
from darkroom.engine.metrics import METRICS
from darkroom.jobs.arguments import arguments
from darkroom.jobs.cli import JOBS
from darkroom.jobs.console import ExitCode
from darkroom.jobs.help import job_help

INFRA = Path(__file__).parent


def write_pages(folder: Path) -> None:
    """zensical.toml, and its pages in docs/; `folder` is made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    docs = folder / "docs"
    shutil.copytree(INFRA / "docs", docs)
    shutil.move(docs / "zensical.toml", folder)
    for picture in (INFRA / "pictures").glob("*.png"):
        shutil.copy(picture, docs)
    pages = {
        "python.md": (INFRA / "docs" / "python.md").read_text() + examples(),
        "scorers.md": (INFRA / "docs" / "scorers.md").read_text() + examples("examples/scorers"),
        "watching.md": (INFRA / "docs" / "watching.md").read_text() + metrics(),
        "jobs.md": jobs(),
        "settings.md": reference(),
        "changes.md": (INFRA.parent / "CHANGELOG.md").read_text(),
    }
    for name, text in pages.items():
        (docs / name).write_text(text)


def examples(folder: str = "examples") -> str:
    """The scripts of a folder of infra, whole."""
    scripts = sorted((INFRA / folder).glob("*.py"))
    parts = [f"### {path.stem}\n\n```python\n{path.read_text()}```\n" for path in scripts]
    return "\n".join(["\n## Examples\n", *parts])


def metrics() -> str:
    """The table of metrics."""
    head = "| metric | kind | labels | what it is |\n| --- | --- | --- | --- |"
    rows = [f"| `{each.name}` | {each.kind} | {', '.join(each.all_labels)} | {each.help} |" for each in METRICS]
    return "\n".join(["\n## All metrics\n", head, *rows, ""])


def jobs() -> str:
    """Every job: what it does, and what its `--help` prints."""
    parts = [f"## {job}\n\n{does[:1].upper()}{does[1:]}.\n\n{_help(job, does)}" for job, does in JOBS.items()]
    codes = "\n".join(f"| {int(code)} | {code.meaning} |" for code in ExitCode)
    head = "| code | meaning |\n| --- | --- |"
    return "\n\n".join(
        [
            "# Jobs",
            "`darkroom <job> key=value ...`. A command wins over a file (`--config`), and that over defaults.",
            *parts,
            f"## Exit codes\n\nOf several, the one furthest down is said.\n\n{head}\n{codes}\n",
        ]
    )


def _help(job: str, does: str) -> str:
    return f"```text\n{job_help(arguments(job, []), does)}\n```"


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
