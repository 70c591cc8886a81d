"""A Ray cluster's Jobs API: submits, follows, lists and stops.

https://docs.ray.io/en/latest/cluster/running-applications/job-submission/jobs-package-ref.html
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from darkroom.clusters.submission import PREFIX, Submission, last_attempt
from darkroom.domain.errors import DarkroomError, TryAgain, type_and_line

_SERVER = "RAY_API_SERVER_ADDRESS"  # of the environment: the client puts it, and RAY_ADDRESS, over what it is given
_WAIT_S, _POLL_S = 60.0, 0.5
_ENDS = ("STOPPED", "SUCCEEDED", "FAILED")

Say = Callable[[str], None]  # is given text as it comes, which may be part of a line


@dataclass(frozen=True)
class RayJob:
    """What the cluster says of a job."""

    name: str
    status: str  # PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED
    message: str = ""
    exit_code: int | None = None  # of its process; None where that has not ended by itself
    start_time: float | None = None  # Unix seconds
    end_time: float | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDS


class RayJobs:
    """The jobs of the cluster at an address."""

    def __init__(self, address: str | None) -> None:
        self._address = address
        self._client = self._connected()

    def submit(
        self, submission: Submission, program: str, num_cpus: float | None, num_gpus: float | None
    ) -> tuple[RayJob, bool]:
        """(the next attempt at the job, True); where one has not ended, (that one, False)."""
        while True:
            names = {job.name: job for job in self.all()}
            number = last_attempt(submission.family, names)
            last = names.get(f"{submission.family}-{number}")
            if last and not last.has_ended:
                return last, False
            found = Submission(submission.job, submission.words, number + 1)
            if self._is_submitted(found, program, num_cpus, num_gpus):
                return self.job(found.name), True

    def _is_submitted(self, found: Submission, program: str, num_cpus: float | None, num_gpus: float | None) -> bool:
        """False where another was first."""
        try:
            self._client.submit_job(
                entrypoint=found.command(program),
                submission_id=found.name,
                entrypoint_num_cpus=num_cpus,
                entrypoint_num_gpus=num_gpus,
            )
        except Exception as error:
            if "already exists" in str(error):
                return False
            raise self._refused(error) from error
        return True

    def all(self) -> list[RayJob]:
        """Those that Darkroom has submitted, the last one first."""
        jobs = [_job(each) for each in self._ask(self._client.list_jobs) if each.submission_id]
        ours = [job for job in jobs if job.name.startswith(PREFIX)]
        return sorted(ours, key=lambda job: job.start_time or 0, reverse=True)

    def job(self, name: str) -> RayJob:
        """Raises DarkroomError where there is none of this name."""
        for found in self.all():
            if found.name == name:
                return found
        raise DarkroomError(f"id={name}: the cluster knows no such job; `darkroom jobs` lists those that it knows")

    def follow(self, name: str, say: Say) -> RayJob:
        """Says the job's log from its beginning to its end, and returns what became of it."""
        num_said = 0

        async def tail() -> bool:
            """Whether the log has come to its end: a proxy may cut a connection that is long silent."""
            nonlocal num_said
            from aiohttp import ClientError

            start = 0  # of the text in the log
            try:
                async for text in self._client.tail_job_logs(name):
                    say(text[max(num_said - start, 0) :])
                    start += len(text)
                    num_said = max(num_said, start)
            except (ClientError, OSError, RuntimeError):
                return False
            return True

        while True:
            is_whole = asyncio.run(tail())
            found = self.job(name)
            if is_whole and found.has_ended:
                return found
            time.sleep(_POLL_S)

    def stop(self, name: str) -> RayJob:
        """Asks the job to stop, and waits until it has."""
        self.job(name)
        self._ask(self._client.stop_job, name)
        deadline = time.monotonic() + _WAIT_S
        while not (found := self.job(name)).has_ended:
            if time.monotonic() > deadline:
                raise TryAgain(f"{name}: it was asked to stop {_WAIT_S:.0f} s ago and has not yet; ask again later")
            time.sleep(_POLL_S)
        return found

    # Asking ----------------------------------------------------------------------------------------------------------

    def _connected(self) -> Any:
        _check_installed()
        with _only(self._address):
            from ray.job_submission import JobSubmissionClient

            _silence()
            try:
                return JobSubmissionClient(self._address)
            except Exception as error:  # of many kinds, by what fails
                raise self._refused(error) from error

    def _ask(self, ask: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return ask(*arguments)
        except Exception as error:
            raise self._refused(error) from error

    def _refused(self, error: Exception) -> DarkroomError:
        address = self._address or os.environ.get(_SERVER) or os.environ.get("RAY_ADDRESS") or "this machine"
        said = f"the Jobs API of the Ray at {address} does not answer as it should ({type_and_line(error)})"
        return DarkroomError(
            f"{said}; name its dashboard, such as http://head:8265, and have its token in RAY_AUTH_TOKEN, with "
            "RAY_AUTH_MODE=token"
        )


def _job(details: Any) -> RayJob:
    return RayJob(
        details.submission_id,
        str(details.status.value),
        details.message or "",
        details.driver_exit_code,
        details.start_time / 1000 if details.start_time else None,
        details.end_time / 1000 if details.end_time else None,
    )


def _check_installed() -> None:
    if find_spec("aiohttp") is None or find_spec("opencensus") is None:
        raise DarkroomError("Ray's Jobs API needs more of Ray than is installed; run `pip install 'darkroom[cluster]'`")


@contextmanager
def _only(address: str | None) -> Iterator[None]:
    """The client takes the environment's address before the one that it is given."""
    before = os.environ.get(_SERVER)
    if address:
        os.environ[_SERVER] = address
    try:
        yield
    finally:
        if address:
            os.environ.pop(_SERVER)
        if before is not None:
            os.environ[_SERVER] = before


def _silence() -> None:
    """Ray's client tells how it finds a cluster, and that a log has ended, by loggers whose levels it sets itself."""
    for name in ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray.dashboard.utils"):
        logging.getLogger(name).setLevel(logging.ERROR)
