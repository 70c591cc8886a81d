"""Writes the page that shows a run: figures by cell, curves, contact sheets, picks, failures."""

from dataclasses import dataclass

from darkroom.api.run import Run
from darkroom.report.building import ReportOptions, build
from darkroom.report.page import report_files
from darkroom.report.publishing import publish
from darkroom.runs.keys import REPORT_PREFIX
from darkroom.storage.opening import open_store
from darkroom.storage.store import parse_spec


@dataclass(frozen=True)
class Report:
    place: str  # of index.html
    has_figures: bool


def report(run: Run, out: str | None = None, endpoint_url: str | None = None, num_prompts: int = 24) -> Report:
    """The run as it is now, finished or not. `out`: a folder or s3:// address; None: report/ under the run.

    Raises DarkroomError where nothing is committed, and for a folder that holds somebody else's files of these names.
    """
    store, prefix = run.store, REPORT_PREFIX
    if out is not None:
        store, prefix = open_store(parse_spec(out, endpoint_url)), ""
    store.check()  # before the work
    content = build(run.store, run.info, run.cells, ReportOptions(num_prompts, ".." if out is None else None))
    return Report(publish(report_files(content), store, prefix), bool(content.metrics))
