"""Write the page that shows a run: figures by cell, curves, contact sheets, picks, failures."""

from omegaconf import DictConfig

from darkroom.api.reporting import report
from darkroom.jobs import values
from darkroom.jobs.exits import ExitCode
from darkroom.runs.commands import on_run


def run(config: DictConfig) -> ExitCode:
    found = values.run_of(config)
    result = report(found, config.output.uri, config.output.endpoint_url, config.num_prompts)
    print(f"report: {result.place}")
    # Figures, where there are none yet; else a look at whether the images can be made again.
    print(f"next:   {on_run('verify' if result.has_figures else 'evaluate', found.store.spec)}", flush=True)
    return ExitCode.OK
