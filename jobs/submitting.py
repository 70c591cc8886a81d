"""The job that hands another one to a cluster."""

import os
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.api.options import not_halved
from darkroom.clusters import handing, reach
from darkroom.clusters.ray_jobs import RayJobs
from darkroom.clusters.submission import Submission, last_attempt
from darkroom.clusters.targets import TARGETS, Target
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.jobs import values
from darkroom.jobs.arguments import arguments
from darkroom.jobs.cluster_jobs import followed, on_job
from darkroom.jobs.console import ExitCode, code_of
from darkroom.jobs.hooks import KEY, check_sent
from darkroom.jobs.nodes import place_of
from darkroom.jobs.places import texts
from darkroom.jobs.sources import Sources, groups
from darkroom.jobs.words import plain_words

_ENDPOINTS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3")


def submit(config: DictConfig) -> ExitCode:
    """Check a job and hand it to a cluster; exit code: the job's own, where it is waited for."""
    keys = _keys(config)
    submission = _submission(config, keys)
    if config.to.kind.value == "ray":
        return _submit_to_ray(config, keys, submission)
    return _submit_manifest(config, keys, submission, TARGETS[config.to.kind.value])


def _keys(config: DictConfig) -> dict[str, Any]:
    """Of `to`; what starts Darkroom on a machine of Slurm is what starts it here, whose disk is theirs."""
    keys: dict[str, Any] = OmegaConf.to_container(config.to, resolve=True)  # type: ignore[assignment]
    if keys["program"] is None:
        keys["program"] = str(Path(sys.executable).with_name("darkroom"))
    if "claim" in keys and bool(keys["claim"]) != (len(config.shared) == 1):
        said = f"shared=[{','.join(config.shared)}]" if config.shared else f"to.claim={keys['claim']}"
        raise DarkroomError(
            f"{said}: pods see a shared folder by a volume; give one folder and to.claim=..., or neither"
        )
    return keys


# The job -------------------------------------------------------------------------------------------------------------


def _submission(config: DictConfig, keys: dict[str, Any]) -> Submission:
    """With the job's own words, checked as far as this machine can."""
    job, has_parts = config.job.value, "num_parts" in keys
    usual = ["engine=local"] if has_parts and "engine" in groups(Sources(job)) else []
    words, asked = plain_words(arguments(job, [*usual, *config.job_words]))
    if "prompts" in asked and asked.output.uri is None:
        raise DarkroomError(
            "output.uri has no value, and a folder of its own choice would lie on one machine of the cluster; give "
            "output.uri=s3://bucket/prefix, or a folder that all machines share"
        )
    reach.check_reach(texts(asked), config.shared)
    values.check(asked)
    check_sent(asked.get(KEY))
    if has_parts:
        _check_parts(asked, job, keys["num_parts"])
    for warning in _warnings(asked):
        print(f"warning: {warning}", file=sys.stderr)
    return Submission(job, tuple(words))


def _check_parts(asked: DictConfig, job: str, num_parts: int) -> None:
    has_part = place_of(asked, "engine.part") is not None
    if has_part and asked.engine.part is not None:
        raise DarkroomError(f"engine.part={asked.engine.part}: to.num_parts divides the run; leave engine.part out")
    if num_parts > 1 and not has_part:
        raise DarkroomError(f"to.num_parts={num_parts}: `darkroom {job}` has no parts; leave it out")
    if num_parts > 1 and OmegaConf.select(asked, "halving.figure"):
        raise not_halved(f"to.num_parts={num_parts}")


def _warnings(asked: DictConfig) -> Iterator[str]:
    """Of what the cluster has to have by itself."""
    make = OmegaConf.select(asked, "model.make")
    if make and not make.startswith("darkroom."):
        yield f"model.make={make}: its code is not sent; install it on every machine of the cluster"
    for name in filter(os.environ.get, _ENDPOINTS):
        yield f"{name} is set here and not passed on; give output.endpoint_url=..., unless the cluster sets it too"


# Ray -----------------------------------------------------------------------------------------------------------------


def _submit_to_ray(config: DictConfig, keys: dict[str, Any], submission: Submission) -> ExitCode:
    if config.dry_run:
        print(f"{submission.family}-<attempt>\n{submission.command(keys['program'])}")
        return ExitCode.OK
    cluster = RayJobs(keys["address"])
    numbers = keys["entrypoint_num_cpus"], keys["entrypoint_num_gpus"]
    found, is_new = cluster.submit(submission, keys["program"], *numbers)
    print(f"{found.name}: {'submitted' if is_new else f'{found.status.lower()} already, and not submitted again'}")
    if config.follow is False:
        print(f"next: {on_job(found.name, keys['address'], follow=True)}")
        return ExitCode.OK
    return followed(cluster, found.name, keys["address"])


# A manifest ----------------------------------------------------------------------------------------------------------


def _submit_manifest(config: DictConfig, keys: dict[str, Any], submission: Submission, target: Target) -> ExitCode:
    if config.follow and not target.can_wait:
        raise DarkroomError(f"follow=true: to={config.to.kind.value} cannot be waited for; leave it out, and use the "
                            "command that is printed")  # fmt: skip
    if config.dry_run:
        print(target.text(keys, submission, config.shared), end="")
        return ExitCode.OK
    waits = target.can_wait and config.follow is not False
    handing.check_there(target.submit(keys, "", waits)[0])
    submission = _next(keys, submission, target)
    file = Path(keys["write_to"] or f"{submission.name}.{target.ending}")
    handing.write(target.text(keys, submission, config.shared), file)
    print(f"{submission.name}: {file}")
    print(f"log:  {target.watch(keys, submission.name)}\nstop: {target.stop(keys, submission.name)}", flush=True)
    command = target.submit(keys, str(file), waits)
    number = handing.handed(command)
    code = code_of(number) if waits or not number else None
    if code is None:
        kind = TryAgain if waits else DarkroomError
        raise kind(f"`{shlex.join(command)}` ended with exit code {number}; see what it says above, and the log")
    return code


def _next(keys: dict[str, Any], submission: Submission, target: Target) -> Submission:
    """The next attempt. Raises TryAgain while one has not ended."""
    attempts = target.attempts(keys, submission.family)
    for name in (name for name, has_ended in attempts.items() if not has_ended):
        raise TryAgain(f"{name} has not ended; wait, or stop it: {target.stop(keys, name)}")
    return replace(submission, attempt=last_attempt(submission.family, attempts) + 1)
