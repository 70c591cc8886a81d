"""Write the page that shows a run: figures by cell, curves, contact sheets, picks, failures."""

from omegaconf import DictConfig

from darkroom.jobs.runs import OpenedRun, opened
from darkroom.reporting.building import ReportOptions, build
from darkroom.reporting.content import ReportContent
from darkroom.reporting.publishing import publish, report_files
from darkroom.runs.commands import on_run
from darkroom.runs.keys import REPORT_PREFIX
from darkroom.storage.opening import open_store
from darkroom.storage.store import Store, parse_spec


def run(config: DictConfig) -> int:
    found = opened(config)
    store, prefix = _target(config, found)
    options = ReportOptions(config.num_prompts, ".." if config.output.uri is None else None)
    content = build(found.store, found.info, found.cells, options)
    print(f"report: {publish(report_files(content), store, prefix)}")
    print(f"next:   {_next(content, found)}", flush=True)
    return 0


def _target(config: DictConfig, found: OpenedRun) -> tuple[Store, str]:
    """Where the page goes, tried before the work: under the run, or where `output.uri` says."""
    store, prefix = found.store, REPORT_PREFIX
    if config.output.uri is not None:
        store, prefix = open_store(parse_spec(config.output.uri, config.output.endpoint_url)), ""
    store.check()
    return store, prefix


def _next(content: ReportContent, found: OpenedRun) -> str:
    """Figures, where there are none yet; else a look at whether the images can be made again."""
    return on_run("verify" if content.metrics else "evaluate", found.store.spec)
