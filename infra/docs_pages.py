"""Pages of the documentation site that are made from the sources, as it is built: jobs, settings and keys, changes."""

from pathlib import Path
from typing import Any

from darkroom.conf.reference import reference
from mkdocs.structure.files import File, Files

from darkroom.jobs.arguments import arguments
from darkroom.jobs.cli import JOBS
from darkroom.jobs.exits import ExitCode
from darkroom.jobs.help import job_help

ROOT = Path(__file__).parent.parent


def on_files(files: Files, config: Any) -> Files:
    """Called by mkdocs with the files that it found; adds those that are made."""
    page = files.get_file_from_path("python.md")
    assert page is not None
    page.content_string = f"{page.content_string}\n{examples()}"
    pages = {"jobs.md": jobs(), "settings.md": reference(), "changes.md": (ROOT / "CHANGELOG.md").read_text()}
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    picture = ROOT / "infra" / "pictures" / "contact_sheet.png"
    files.append(File.generated(config, "contact_sheet.png", abs_src_path=str(picture)))
    return files


def jobs() -> str:
    """Every job: what it does, and what its `--help` prints."""
    codes = "\n".join(f"| {int(code)} | {code.meaning} |" for code in ExitCode)
    sections = [
        f"## {job}\n\n{does[:1].upper()}{does[1:]}.\n\n```text\n{_help(job, does)}\n```" for job, does in JOBS.items()
    ]
    return "\n\n".join(
        [
            "# Jobs",
            "`darkroom <job> key=value ...`. Words of the command win over a file (`--config`), and that over defaults.",
            *sections,
            f"## Exit codes\n\nOf several, the one furthest down is said.\n\n| code | meaning |\n| --- | --- |\n{codes}",
        ]
    )


def examples() -> str:
    """The scripts of infra/examples, whole."""
    scripts = sorted((ROOT / "infra" / "examples").glob("*.py"))
    return "\n\n".join(["## Examples", *(f"### {path.stem}\n\n```python\n{path.read_text()}```" for path in scripts)])


def _help(job: str, does: str) -> str:
    return job_help(arguments(job, []), does)
