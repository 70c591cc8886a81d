"""The clusters that take a manifest: which text each is given, which program takes it, and what it says of jobs."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import yaml

from darkroom.clusters import kubernetes, scripts
from darkroom.clusters.handing import asked
from darkroom.clusters.submission import Submission

Keys = Mapping[str, Any]  # of `to`, by their names


@dataclass(frozen=True)
class Target:
    """A kind of cluster."""

    ending: str  # of the file
    text: Callable[[Keys, Submission, Sequence[str]], str]  # what it is given; the last: folders that are shared
    attempts: Callable[[Keys, str], dict[str, bool]]  # names of a family's jobs, each with whether it has ended
    submit: Callable[[Keys, str, bool], list[str]]  # the command, with a file; the last: to wait for the job's end
    watch: Callable[[Keys, str], str]  # the line of shell that shows the log of a job, by its name
    stop: Callable[[Keys, str], str]  # the one that stops it
    can_wait: bool  # whether `submit` can wait, and ends as the job does


# Kubernetes ----------------------------------------------------------------------------------------------------------


class _Plain(yaml.SafeDumper):  # type: ignore[misc]
    """Writes what is there twice twice."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def manifest(value: Mapping[str, Any]) -> str:
    """As YAML, in the order of its keys."""
    return str(yaml.dump(dict(value), Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True))


def _kubectl(keys: Keys, *words: str) -> list[str]:
    return ["kubectl", *words, *([f"--namespace={keys['namespace']}"] if keys["namespace"] else [])]


def _line(keys: Keys, *words: str) -> str:
    return " ".join(_kubectl(keys, *words))


def _found(keys: Keys, kind: str, family: str) -> list[dict[str, Any]]:
    said = asked(_kubectl(keys, "get", kind, f"--selector={kubernetes.INSTANCE_LABEL}={family}", "--output=json"))
    return list(json.loads(said)["items"])


def _indexed_jobs(keys: Keys, family: str) -> dict[str, bool]:
    def has_ended(item: dict[str, Any]) -> bool:
        conditions = item.get("status", {}).get("conditions", ())
        return any(each["type"] in ("Complete", "Failed") and each["status"] == "True" for each in conditions)

    return {item["metadata"]["name"]: has_ended(item) for item in _found(keys, "jobs.batch", family)}


def _ray_jobs(keys: Keys, family: str) -> dict[str, bool]:
    found = {item["metadata"]["name"]: item.get("status", {}) for item in _found(keys, "rayjobs.ray.io", family)}
    return {name: status.get("jobDeploymentStatus") in ("Complete", "Failed") for name, status in found.items()}


def _watch_ray(keys: Keys, name: str) -> str:
    pod = _line(keys, "get", "pods", f"--selector={kubernetes.HEAD_LABEL}={name}", "--output=name")
    return f'{_line(keys, "exec")} "$({pod})" -- tail -F /tmp/ray/session_latest/logs/job-driver-{name}.log'


def _watch_pods(keys: Keys, name: str) -> str:
    return _line(
        keys, "logs", "--follow", "--prefix", f"--selector=batch.kubernetes.io/job-name={name}",
        f"--max-log-requests={keys['num_parts']}",
    )  # fmt: skip


def _apply(keys: Keys, file: str, waits: bool) -> list[str]:
    return _kubectl(keys, "apply", f"--filename={file}")


_KUBERAY = Target(
    "yaml",
    lambda keys, submission, shared: manifest(kubernetes.ray_job(keys, submission, shared, version("ray"))),
    _ray_jobs,
    _apply,
    _watch_ray,
    lambda keys, name: _line(keys, "delete", "rayjobs.ray.io", name),
    can_wait=False,
)
_KUBERNETES = Target(
    "yaml",
    lambda keys, submission, shared: manifest(kubernetes.indexed_job(keys, submission, shared)),
    _indexed_jobs,
    _apply,
    _watch_pods,
    lambda keys, name: _line(keys, "delete", "jobs.batch", name),
    can_wait=False,
)

# Others --------------------------------------------------------------------------------------------------------------

_SLURM_ENDS = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL")


def _batch_jobs(keys: Keys, family: str) -> dict[str, bool]:
    """Those that Slurm still knows: it forgets one some minutes after its end. Parts of an array have one name."""
    found: dict[str, bool] = {}
    for line in asked(["squeue", "--me", "--noheader", "--states=all", "--format=%j %T"]).splitlines():
        name, _, state = line.strip().partition(" ")
        if name.startswith(f"{family}-"):
            found[name] = found.get(name, True) and state.startswith(_SLURM_ENDS)
    return found


_SLURM = Target(
    "sbatch",
    lambda keys, submission, shared: scripts.batch_script(keys, submission),
    _batch_jobs,
    lambda keys, file, waits: ["sbatch", *(["--wait"] if waits else []), file],
    lambda keys, name: f"tail -F {name}-*.log",
    lambda keys, name: f"scancel --name={name}",
    can_wait=True,
)
_SKY = Target(
    "yaml",
    lambda keys, submission, shared: manifest(scripts.managed_job(keys, submission)),
    lambda keys, family: {},  # SkyPilot numbers its jobs itself
    lambda keys, file, waits: ["sky", "jobs", "launch", "--yes", *([] if waits else ["--detach-run"]), file],
    lambda keys, name: f"sky jobs logs --name {name}",
    lambda keys, name: f"sky jobs cancel --name {name}",
    can_wait=True,
)
TARGETS = {"kuberay": _KUBERAY, "kubernetes": _KUBERNETES, "slurm": _SLURM, "sky": _SKY}
