"""Render a run's failed records again; what succeeds takes the failed record's place."""

from omegaconf import DictConfig

from darkroom.api.retry import retry
from darkroom.domain.records import INVALID
from darkroom.jobs import printing, values
from darkroom.jobs.exits import ExitCode


def run(config: DictConfig) -> ExitCode:
    found = values.run_of(config)
    with printing.Printer() as printer:
        try:
            result = retry(found, values.engine(config.engine), printer, values.model_place(config.model))
        except KeyboardInterrupt:
            print("\ninterrupted: shards that were not yet replaced are as they were")
            return ExitCode.INTERRUPTED
    if result.num_tried:
        print(f"\n{result.summary.num_ok} images rendered that had failed before")
        printing.say_failures(result.summary)
    else:
        print("no failed records: nothing to render again")
    if result.by_status[INVALID]:
        print(f"{result.by_status[INVALID]} prompt rows are invalid, and stay so; their records say why")
    if not result.is_finished:
        return ExitCode.UNFINISHED
    return ExitCode.ROWS_FAILED if result.has_failures else ExitCode.OK
