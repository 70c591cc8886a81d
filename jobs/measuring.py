"""The jobs `evaluate`, `compare` and `report`: a run's figures, and the page that shows them."""

from omegaconf import DictConfig

from darkroom.jobs import printing, results, values
from darkroom.jobs.exits import ExitCode
from darkroom.runs.commands import on_run


def evaluate(config: DictConfig) -> ExitCode:
    """Score a committed run or sweep: features of every image, then figures of every cell, stored beside the run."""
    from darkroom.api import measuring

    run = values.run_of(config)
    with printing.Printer() as printer:
        try:
            result = measuring.evaluate(run, values.evaluation(config), values.engine(config.engine), printer)
        except KeyboardInterrupt:
            print("\ninterrupted: what was scored stays; the same command goes on")
            return ExitCode.INTERRUPTED
    code = results.evaluated(result)
    print(f"next: {on_run('report', run.store.spec)}", flush=True)
    return code


def compare(config: DictConfig) -> ExitCode:
    """Compare two scored runs image by image; exit code 1 where b is worse than a by more than chance."""
    from darkroom.api import comparison

    options = values.comparison(config)
    comparison.chosen_metrics(options)  # refused before a run is opened
    a, b = (comparison.side(key, config[key], config.endpoint_url) for key in ("a", "b"))
    result = comparison.compare(a, b, options, printing.of_comparison)
    print(result.table)
    if result.worse:
        print(f"b is worse than a by {', '.join(result.worse)}")
    return ExitCode.CHECK_FAILED if result.worse else ExitCode.OK


def report(config: DictConfig) -> ExitCode:
    """Write the page that shows a run: figures by cell, curves, contact sheets, picks, failures."""
    from darkroom.api import calls

    run, output = values.run_of(config), config.output
    found = calls.report(run, out=output.uri, endpoint_url=output.endpoint_url, num_prompts=config.num_prompts)
    print(f"report: {found.place}")
    # Figures, where there are none yet; else a look at whether the images can be made again.
    print(f"next:   {on_run('verify' if found.has_figures else 'evaluate', run.store.spec)}", flush=True)
    return ExitCode.OK
