"""Reports in a folder of their own."""

from pathlib import Path

from darkroom.reporting.content import ReportContent
from darkroom.reporting.page import report_files
from darkroom.reporting.publishing import publish
from darkroom.storage.local import LocalStore
from darkroom.storage.store import StoreSpec


def write_report(content: ReportContent, folder: Path) -> Path:
    """The path of its index.html."""
    return Path(publish(report_files(content), LocalStore(StoreSpec(str(folder))), ""))
