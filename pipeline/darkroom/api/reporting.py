"""The page that shows a run."""

from dataclasses import dataclass

from darkroom.api.options import GridImageOptions
from darkroom.api.run import Run, check_writable
from darkroom.reporting.building import ReportOptions, build
from darkroom.reporting.grid_image import GRID
from darkroom.reporting.publishing import publish, report_files
from darkroom.runs.files import REPORT_PREFIX
from darkroom.storage.store import open_store, parse_spec


@dataclass(frozen=True)
class Report:
    place: str  # of index.html
    has_figures: bool
    grid: str | None = None  # of the labelled picture of all cells; None for a plain run


def write_report(
    run: Run,
    out: str | None,
    endpoint_url: str | None,
    num_prompts: int,
    grid: GridImageOptions = GridImageOptions(),  # noqa: B008 - frozen
) -> Report:
    """Write it to a folder or an address, None for report/ under the run, with at most `num_prompts` in every cell."""
    store, prefix = run.store, REPORT_PREFIX
    if out is None:
        check_writable(run)  # before the work
    else:
        store, prefix = open_store(parse_spec(out, endpoint_url)), ""
        store.check()
    options = ReportOptions(num_prompts, ".." if out is None else None, grid.columns, grid.num_prompts)
    content = build(run.store, run.info, run.cells, options)
    place = publish(report_files(content), store, prefix)
    return Report(place, bool(content.metrics), store.describe(prefix + GRID) if content.grid else None)
