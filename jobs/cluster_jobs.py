"""Jobs of a Ray cluster: lists, follows and stops those that were submitted to it."""

import json
from dataclasses import asdict
from datetime import UTC, datetime

from omegaconf import DictConfig

from darkroom.clusters.ray_jobs import RayJob, RayJobs
from darkroom.domain.errors import DarkroomError, TryAgain
from darkroom.domain.progress import duration
from darkroom.jobs.console import ExitCode, code_of
from darkroom.runs.commands import program, word

_NO_PROGRAM = (126, 127)  # exit codes of a shell


def jobs(config: DictConfig) -> ExitCode:
    """List the jobs that were submitted to a Ray cluster; or follow or stop one."""
    if config.id is None and (config.stop or config.follow):
        raise DarkroomError(f"{'stop' if config.stop else 'follow'}=true: name the job, as id=...")
    if config.stop and config.follow:
        raise DarkroomError("stop=true and follow=true: give one of them")
    cluster = RayJobs(config.address)
    if config.follow:
        return followed(cluster, config.id, config.address)
    found = [(cluster.stop if config.stop else cluster.job)(config.id)] if config.id else cluster.all()
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


def followed(cluster: RayJobs, name: str, address: str | None) -> ExitCode:
    try:
        found = cluster.follow(name, lambda text: print(text, end="", flush=True))
    except KeyboardInterrupt:
        print(f"\n{name} goes on; to stop it: {on_job(name, address, stop=True)}")
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
    last = (found.message.strip().splitlines() or ["nothing is known of it"])[-1]
    said = last if found.exit_code is None else f"exit code {found.exit_code}"
    raise TryAgain(f"{found.name}: its process ended otherwise than by itself ({said}); the same command goes on")


def on_job(name: str, address: str | None, **settings: bool) -> str:
    given = {"id": name} | ({"address": address} if address else {}) | settings
    return " ".join([program(), "jobs", *(word(key, value) for key, value in given.items())])
