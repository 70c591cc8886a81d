"""Score a committed run or sweep: features of every image, then figures of every cell, stored beside the run."""

from omegaconf import DictConfig

from darkroom.api.measuring import evaluate
from darkroom.jobs import printing, values
from darkroom.jobs.exits import ExitCode
from darkroom.runs.commands import on_run


def run(config: DictConfig) -> ExitCode:
    found = values.run_of(config)
    with printing.Printer() as printer:
        try:
            result = evaluate(found, values.evaluation(config), values.engine(config.engine), printer)
        except KeyboardInterrupt:
            print("\ninterrupted: what was scored stays; the same command goes on")
            return ExitCode.INTERRUPTED
    code = printing.evaluated(result)
    print(f"next: {on_run('report', found.store.spec)}", flush=True)
    return code
