"""Score a committed run or sweep: features of every image, then figures of every cell, stored beside the run."""

from omegaconf import DictConfig

from jobs.cli import INTERRUPTED, run_job
from jobs.engine import started
from jobs.evaluation import evaluate, wanted_evaluation
from jobs.runs import opened
from jobs.scoring import score


def run(config: DictConfig) -> int:
    found = opened(config)
    wanted = wanted_evaluation(config)
    found.store.check()
    try:
        with started(config.engine) as engine:
            scored = score(found, wanted.specs(engine.device), wanted.extractor_ids, engine)
    except KeyboardInterrupt:
        print("\ninterrupted: what was scored stays; the same command goes on")
        return INTERRUPTED
    code = evaluate(found, wanted, scored, config.engine.device)
    print(f"next: darkroom report run={config.run}", flush=True)
    return code


if __name__ == "__main__":
    run_job("evaluate")
