"""Reports in a folder of their own."""

from pathlib import Path

from pipeline.report.content import ReportContent
from pipeline.report.page import report_files
from pipeline.report.publishing import publish
from pipeline.storage.local import LocalStore
from pipeline.storage.store import StoreSpec


def write_report(content: ReportContent, folder: Path) -> Path:
    """The path of its index.html."""
    return Path(publish(report_files(content), LocalStore(StoreSpec(str(folder))), ""))
