"""The console command: `darkroom <job> key=value ...`, the same as `python -m darkroom <job> key=value ...`.

`run_job` is what a program or a notebook calls: it returns the exit code, raises what went wrong, and leaves streams,
signals and the process alone. `console` is the same as a command.
"""

import gc
import os
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any

from omegaconf import DictConfig

from darkroom import __version__
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import check_working_folder
from darkroom.jobs.arguments import Show, arguments, unquoted
from darkroom.jobs.completion import COMPLETE, COMPLETE_LINE, completion, line_completion, script
from darkroom.jobs.config_file import config_text
from darkroom.jobs.console import ExitCode, answer, explained, guard
from darkroom.jobs.help import job_help, overview
from darkroom.jobs.hooks import KEY as ON_END
from darkroom.jobs.hooks import hidden
from darkroom.jobs.overrides import chosen, composed
from darkroom.runs.commands import program

_HOMES = {
    "development": ("train_demo", "train_demo_loras", "check_demo", "bench"),
    "submitting": ("submit",),
    "cluster_jobs": ("jobs",),
}
JOBS = {
    "plan": "check everything and say what `generate` would do",
    "prompts": "show prompts of any kind as they would be rendered, and write them to a file",
    "rewrite": "let a language model make prompts richer, and write them as prompts for `generate`",
    "prove": "test which promises hold for a model: images that stand alone, settings that act",
    "generate": "render a prompt dataset; the same command again goes on where it was",
    "sweep": "render every cell of a grid as one job; a grid that grows renders its new cells alone",
    "evaluate": "measure a run's images, and say each cell's figures with their intervals",
    "report": "write the page that shows a run: figures, curves, contact sheets, picks, failures",
    "compare": "say whether a run's images are worse than another's, image by image; exit code 1 where they are",
    "rate": "write a page of blind pairs for people to choose from, and read their votes back as figures",
    "find_copies": "find a run's images that are nearest to a reference's, such as training images, and show them",
    "export": "hand a run over as a dataset: Parquet, WebDataset or folders of images, with a card and sums",
    "merge": "hand several runs over as one dataset, as export does one",
    "push": "upload a dataset that was exported to the Hugging Face hub",
    "status": "say what is committed, what failed and why, and what is left",
    "retry": "render failed records again",
    "verify": "render a sample of committed images again and compare their digests",
    "repair": "render stored images again that are not what their records say, and put the right bytes back",
    "compact": "copy the metadata of many shards into few files, from which a large run is read faster",
    "gc": "remove what no committed shard names",
    "submit": "check a job and hand it to a cluster: Ray, KubeRay, Kubernetes, Slurm or SkyPilot",
    "jobs": "list, follow and stop jobs that were submitted to a Ray cluster",
    "train_demo": "train the embedded model from nothing",
    "train_demo_loras": "train the embedded model's LoRAs from nothing",
    "check_demo": "measure how well the embedded model follows captions, alone and with its LoRAs",
    "bench": "measure speed as ratios: against the bare model, a plain script, Ray Data",
}
# Objects that are made between two collections: by Python's 700, each would look at all that libraries have loaded.
_GC_THRESHOLD = 50_000


def main() -> None:
    """Entry point of the `darkroom` command."""
    guard()
    words = sys.argv[1:]
    if words[:1] == ["help"] and words[1:]:
        words = [words[1], "--help"]
    if words and words[0] in JOBS:
        console(words[0], words[1:])
    else:
        _leave(_answered(words))


def _answered(words: Sequence[str]) -> ExitCode:
    """What is asked of the program itself."""
    if words[:1] == ["--version"]:
        return answer(f"darkroom {__version__}")
    if not words or words[0] in ("-h", "--help", "help"):
        return answer(overview(JOBS))
    if words[0] == COMPLETE:
        return answer("\n".join(completion(words[1:], JOBS)))
    if words[0] == COMPLETE_LINE:
        return answer("\n".join(line_completion(" ".join(words[1:]), JOBS)))
    if words[0] != "completion":
        return _complain(_no_job(words[0]), ExitCode.BAD_INPUT)
    try:
        return answer(script(words[1:]))
    except DarkroomError as error:
        return _complain(str(error), ExitCode.BAD_INPUT)


def run_job(job: str, overrides: Sequence[str] | None = None) -> ExitCode:
    """Compose the job's configuration and run it; its exit code. Without `overrides`, as the command that was given.

    Raises DarkroomError for what cannot be run as given, and StoreError where the store fails.
    """
    if overrides is None:
        console(job, sys.argv[1:])
        return ExitCode.OK
    if job not in JOBS:
        raise DarkroomError(_no_job(job))
    given = arguments(job, overrides)
    if given.show:
        return answer(job_help(given, JOBS[job]) if given.show is Show.help else config_text(*chosen(given)))
    return function_of(job)(composed(job, overrides))


def function_of(job: str) -> Callable[[DictConfig], ExitCode]:
    """What does the job: it takes its configuration, and gives its exit code."""
    home = import_module(f"darkroom.jobs.{next((home for home, jobs in _HOMES.items() if job in jobs), 'runs')}")
    found: Callable[[DictConfig], ExitCode] = getattr(home, job)
    return found


def console(job: str, overrides: Sequence[str]) -> None:
    """Run the job as a person's command does: SIGTERM is Ctrl-C, errors are one line, and the process ends."""
    guard()
    gc.set_threshold(_GC_THRESHOLD)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # a terminal that closes; nohup has it ignored
        signal.signal(signal.SIGHUP, interrupt)
    code = _ended(job, overrides)
    if code is ExitCode.INTERRUPTED:
        print(f"the same command goes on from there: {same_command(job, overrides)}", flush=True)
    if code:
        _leave(code)


def interrupt(*_: Any) -> None:
    """A polite kill is treated as Ctrl-C is, and Ctrl-C also where a shell had it ignored."""
    raise KeyboardInterrupt


def _ended(job: str, overrides: Sequence[str]) -> ExitCode:
    """The job's exit code, and a line on the error that ended it."""
    try:
        check_working_folder()
        return run_job(job, overrides)
    except (Exception, KeyboardInterrupt) as error:
        code, text = explained(error)
        if text:
            return _complain(text, code)
        if code is ExitCode.INTERNAL_ERROR:
            traceback.print_exc()
        return code


def _complain(text: str, code: ExitCode) -> ExitCode:
    print(f"darkroom: {' '.join(text.splitlines())}", file=sys.stderr)
    return code


def same_command(job: str, overrides: Sequence[str]) -> str:
    """For people, without the address of a webhook."""
    return " ".join([program(), shlex.join([job, *map(_without_address, overrides)])])


def _without_address(word: str) -> str:
    key, _, text = word.partition("=")
    return f"{key}={hidden(unquoted(text))}" if key == ON_END and hidden(unquoted(text)) != unquoted(text) else word


def _leave(code: ExitCode) -> None:
    """End without waiting for threads that still render, or hang: what is not committed does not exist."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _no_job(job: str) -> str:
    close = get_close_matches(job, JOBS, 1)
    return f"no job {job!r}; {f'did you mean {close[0]}? Jobs' if close else 'jobs'} are {', '.join(JOBS)}"
