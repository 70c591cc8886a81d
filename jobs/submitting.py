"""The jobs that hand another one to a cluster, and that ask a Ray cluster what became of it."""

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from darkroom.clusters import handing, reach
from darkroom.clusters.ray_jobs import RayJob, RayJobs
from darkroom.clusters.submission import Submission, last_attempt
from darkroom.clusters.targets import TARGETS, Target
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.units import duration
from darkroom.jobs import values
from darkroom.jobs.arguments import arguments
from darkroom.jobs.console import ExitCode, code_of
from darkroom.jobs.nodes import place_of
from darkroom.jobs.places import texts
from darkroom.jobs.sources import Sources, groups
from darkroom.jobs.words import plain_words
from darkroom.runs.commands import program, word

_NO_PROGRAM = (126, 127)  # exit codes of a shell
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
    given = arguments(
        job, [*(["engine=local"] if has_parts and "engine" in groups(Sources(job)) else []), *config.words]
    )
    if given.show:
        raise DarkroomError(f"--cfg: it is of one job; give it to `darkroom {job}`")
    words, asked = plain_words(given)
    _check_values(asked)
    if has_parts:
        _check_parts(asked, job, keys["num_parts"])
    if "prompts" in asked and asked.output.uri is None:
        raise DarkroomError(
            "output.uri has no value, and a folder of its own choice would lie on one machine of the cluster; give "
            "output.uri=s3://bucket/prefix, or a folder that all machines share"
        )
    reach.check_reach(texts(asked), config.shared)
    for warning in _warnings(asked):
        print(f"warning: {warning}", file=sys.stderr)
    return Submission(job, tuple(words))


def _check_values(asked: DictConfig) -> None:
    """Raises DarkroomError for values that do not go together."""
    if "prompts" in asked:
        values.request(asked)
    elif "engine" in asked:
        values.engine(asked.engine)
    if "expect" in asked:
        values.evaluation(asked)


def _check_parts(asked: DictConfig, job: str, num_parts: int) -> None:
    has_part = place_of(asked, "engine.part") is not None
    if has_part and asked.engine.part is not None:
        raise DarkroomError(f"engine.part={asked.engine.part}: to.num_parts divides the run; leave engine.part out")
    if num_parts > 1 and not has_part:
        raise DarkroomError(f"to.num_parts={num_parts}: `darkroom {job}` has no parts; leave it out")
    if num_parts > 1:
        asked = asked.copy()
        asked.engine.part = f"1/{num_parts}"
        _check_values(asked)


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
        print(f"next: {_on_job(found.name, keys['address'], follow=True)}")
        return ExitCode.OK
    return _followed(cluster, found.name, keys["address"])


def _followed(cluster: RayJobs, name: str, address: str | None) -> ExitCode:
    try:
        found = cluster.follow(name, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"\n{name} goes on; to stop it: {_on_job(name, address, stop=True)}")
        return ExitCode.INTERRUPTED
    return _code(found)


def _code(found: RayJob) -> ExitCode:
    """Of a job that has ended."""
    if found.status == "STOPPED":
        print(f"{found.name} was stopped")
        return ExitCode.INTERRUPTED
    if found.exit_code in _NO_PROGRAM:
        raise DarkroomError(f"{found.name}: the cluster has no program of that name on its PATH; give to.program=...")
    if (code := code_of(found.exit_code)) is not None:
        return code
    said = f"exit code {found.exit_code}" if found.exit_code is not None else found.message.splitlines()[-1:] or "lost"
    raise TryAgain(f"{found.name}: its process ended otherwise than by itself ({said}); the same command goes on")


def _on_job(name: str, address: str | None, **settings: bool) -> str:
    given = {"id": name} | ({"address": address} if address else {}) | settings
    return " ".join([program(), "jobs", *(word(key, value) for key, value in given.items())])


# A manifest ----------------------------------------------------------------------------------------------------------


def _submit_manifest(config: DictConfig, keys: dict[str, Any], submission: Submission, target: Target) -> ExitCode:
    if config.follow and not target.can_wait:
        raise DarkroomError(f"follow=true: to={config.to.kind.value} cannot be waited for; leave it out, and use the "
                            "command that is printed")  # fmt: skip
    if config.dry_run:
        print(target.text(keys, submission, config.shared), end="")
        return ExitCode.OK
    submission = _next(keys, submission, target)
    file = Path(keys["write_to"] or f"{submission.name}.{target.ending}")
    handing.write(target.text(keys, submission, config.shared), file)
    print(f"{submission.name}: {file}\nlog:  {target.watch(keys, submission.name)}\n"
          f"stop: {target.stop(keys, submission.name)}", flush=True)  # fmt: skip
    waits = target.can_wait and config.follow is not False
    number = handing.handed(target.submit(keys, str(file), waits))
    code = code_of(number)
    if code is None:
        raise TryAgain(f"{submission.name}: it ended with exit code {number}; see what is said above, and its log")
    return code


def _next(keys: dict[str, Any], submission: Submission, target: Target) -> Submission:
    """The next attempt. Raises TryAgain while one has not ended."""
    attempts = target.attempts(keys, submission.family)
    for name in (name for name, has_ended in attempts.items() if not has_ended):
        raise TryAgain(f"{name} has not ended; wait, or stop it: {target.stop(keys, name)}")
    return replace(submission, attempt=last_attempt(submission.family, attempts) + 1)


# Later ---------------------------------------------------------------------------------------------------------------


def jobs(config: DictConfig) -> ExitCode:
    """List the jobs that were submitted to a Ray cluster; or follow or stop one."""
    if config.id is None and (config.stop or config.follow):
        raise DarkroomError(f"{'stop' if config.stop else 'follow'}=true: name the job, as id=...")
    if config.stop and config.follow:
        raise DarkroomError("stop=true and follow=true: give one of them")
    cluster = RayJobs(config.address)
    if config.follow:
        return _followed(cluster, config.id, config.address)
    if config.stop:
        found = [cluster.stop(config.id)]
    else:
        found = [cluster.job(config.id)] if config.id else cluster.all()
    print(json.dumps([asdict(each) for each in found]) if config.json else _table(found))
    return ExitCode.OK


def _table(found: list[RayJob]) -> str:
    if not found:
        return "no jobs of Darkroom's"
    return "\n".join(f"{each.name:<40} {each.status:<10} {_time(each)}" for each in found)


def _time(found: RayJob) -> str:
    if found.start_time is None:
        return ""
    began = datetime.fromtimestamp(found.start_time, UTC)
    took = (found.end_time or datetime.now(UTC).timestamp()) - found.start_time
    return f"{began:%Y-%m-%d %H:%M} UTC, {duration(took)}"
