"""The page that shows a run."""

from dataclasses import dataclass
from functools import partial
from typing import Any

from darkroom.api.evaluation_options import GridImageOptions
from darkroom.api.preflight import listed_words, run_preflight
from darkroom.api.run import Run, check_writable
from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.figures import read_evaluations
from darkroom.evaluation.reference import Images, decode
from darkroom.evaluation.reference_opening import open_references
from darkroom.prompts.preflight import EXTRA
from darkroom.reporting.building import ReportOptions, build
from darkroom.reporting.content import PromptFindings
from darkroom.reporting.grid_image import GRID
from darkroom.reporting.publishing import publish, report_files
from darkroom.reporting.trajectories import ReferencePicture
from darkroom.runs.files import REPORT_PREFIX
from darkroom.storage.store import Store, StoreError, open_store, parse_spec


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
    words: str | None = None,
) -> Report:
    """Write it to a folder or an address, None for report/ under the run, with at most `num_prompts` in every cell.

    `words`: a file of words that are looked for in prompts.
    """
    listed = listed_words(words)
    store, prefix = run.store, REPORT_PREFIX
    if out is None:
        check_writable(run)  # before the work
    else:
        store, prefix = open_store(parse_spec(out, endpoint_url)), ""
        store.check()
    href, find = ".." if out is None else None, partial(_reference_picture, run.store)
    prompts = PromptFindings(run_preflight(run, listed), EXTRA)
    options = ReportOptions(num_prompts, href, grid.columns, grid.num_prompts, find, prompts)
    content = build(run.store, run.info, run.cells, options)
    place = publish(report_files(content), store, prefix)
    return Report(place, bool(content.metrics), store.describe(prefix + GRID) if content.grid else None)


def _reference_picture(store: Store) -> ReferencePicture | str | None:
    """The first image of what the run was last measured against, of several references of the first that has images;
    or why it cannot be had. None where there is none."""
    found = [each for each in read_evaluations(store) if each.options.get("reference")]
    if not found:
        return None
    given: Any = found[-1].options["reference"]
    endpoint_url: Any = found[-1].options.get("reference_endpoint_url")
    called = {metric.reference for metric in found[-1].metrics.values() if metric.reference}
    try:
        for reference in open_references(given, endpoint_url).values():
            if isinstance(reference.source, Images):
                name = called.pop() if len(called) == 1 else reference.name
                file = next(file for block in reference.source.blocks() for file in block.files())
                return ReferencePicture(name, decode(file))
    except (DarkroomError, StoreError, OSError, StopIteration) as error:
        return f"How the picture forms, without forward noising: a reference image cannot be read here: {error}"
    return None
