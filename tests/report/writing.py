"""Reports in a folder of their own."""

from pathlib import Path

from darkroom.report.content import ReportContent
from darkroom.report.page import report_files
from darkroom.report.publishing import publish
from darkroom.storage.local import LocalStore
from darkroom.storage.store import StoreSpec


def write_report(content: ReportContent, folder: Path) -> Path:
    """The path of its index.html."""
    return Path(publish(report_files(content), LocalStore(StoreSpec(str(folder))), ""))
