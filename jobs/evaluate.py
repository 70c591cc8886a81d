"""Score a committed run or sweep: features of every image, then figures of every cell, stored beside the run."""

from omegaconf import DictConfig

from darkroom.jobs.engine import own_device, started
from darkroom.jobs.evaluation import evaluate, wanted_evaluation
from darkroom.jobs.exits import ExitCode
from darkroom.jobs.runs import check_writable, opened
from darkroom.jobs.scoring import score
from darkroom.runs.commands import on_run


def run(config: DictConfig) -> int:
    found = opened(config)
    wanted = wanted_evaluation(config)
    check_writable(found)
    try:
        with started(config.engine) as engine:
            scored = score(found, wanted.specs(engine.device), wanted.extractor_ids, engine)
    except KeyboardInterrupt:
        print("\ninterrupted: what was scored stays; the same command goes on")
        return ExitCode.INTERRUPTED
    code = evaluate(found, wanted, scored, own_device(config.engine))
    print(f"next: {on_run('report', found.store.spec)}", flush=True)
    return code
