"""Texts for Slurm and SkyPilot: a batch script, and a managed job.

https://slurm.schedmd.com/sbatch.html and https://docs.skypilot.co/en/latest/reference/yaml-spec.html
"""

from collections.abc import Iterator, Mapping
from typing import Any

from darkroom.clusters.submission import Submission

_BEFORE_END_S = 120  # of SIGTERM before Slurm's time is up: the job stops with whole shards only

Target = Mapping[str, Any]  # the keys of `to`, by their names


def batch_script(target: Target, submission: Submission) -> str:
    """For `sbatch`: one task, or an array of parts. It takes nothing of the environment that it is submitted in, which
    Slurm would keep with the job, secrets and all."""
    part = ' engine.part="$SLURM_ARRAY_TASK_ID/{}"'.format(target["num_parts"]) if target["num_parts"] > 1 else ""
    lines = [
        "#!/bin/bash -l",
        *(f"#SBATCH --{option}" for option in _options(target, submission)),
        "set -eu",
        *([target["setup"]] if target["setup"] else []),
        f"exec {submission.command(target['program'])}{part}",
    ]
    return "\n".join(lines) + "\n"


def _options(target: Target, submission: Submission) -> Iterator[str]:
    num_parts = target["num_parts"]
    yield f"job-name={submission.name}"
    if num_parts > 1:
        yield f"array=1-{num_parts}"
    yield f"output=%x-{'%A-%a' if num_parts > 1 else '%j'}.log"
    yield f"cpus-per-task={target['cpus_per_task']}"
    if target["gpus_per_task"]:
        yield f"gpus-per-task={target['gpus_per_task']}"
        yield "ntasks=1"
    for name in ("mem", "time", "partition", "account"):
        if target[name]:
            yield f"{name}={target[name]}"
    yield f"signal=B:TERM@{_BEFORE_END_S}"
    yield "requeue"
    yield "export=NONE"


def managed_job(target: Target, submission: Submission) -> dict[str, Any]:
    """For `sky jobs launch`: a machine a part. What SkyPilot loses it starts anew, and there it goes on."""
    num_parts = target["num_parts"]
    part = f' engine.part="$((SKYPILOT_NODE_RANK + 1))/{num_parts}"' if num_parts > 1 else ""
    asked = {
        "infra": target["infra"],
        "accelerators": target["accelerators"],
        "cpus": target["cpus"],
        "memory": target["memory"],
        "image_id": f"docker:{target['image']}" if target["image"] else None,
        "use_spot": target["use_spot"] or None,
    }
    return {
        "name": submission.name,
        "resources": {name: value for name, value in asked.items() if value is not None},
        "num_nodes": num_parts,
        **({"setup": target["setup"]} if target["setup"] else {}),
        "run": f"exec {submission.command(target['program'])}{part}",
    }
