"""The console command: `darkroom <job> key=value ...`, the same as `python -m jobs.<job> key=value ...`."""

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from conf import schema
from pipeline import __version__
from pipeline.domain.errors import DarkroomError, credentials_in
from pipeline.domain.secrets import has_credentials, redacted
from pipeline.storage.store import StoreError

JOBS = {
    "plan": "check everything and say what `generate` would do",
    "generate": "render a prompt dataset; the same command again goes on where it was",
    "sweep": "render every cell of a grid as one job; a grid that grows renders its new cells alone",
    "evaluate": "score a run's images, and say each cell's figures with their intervals",
    "report": "write the page that shows a run: figures, curves, contact sheets, picks, failures",
    "compare": "say whether a run's images are worse than another's, image by image; exit code 1 where they are",
    "status": "say what is committed, what failed and why, and what is left",
    "retry": "render failed records again",
    "verify": "render a sample of committed images again and compare their digests",
    "repair": "render stored images again that are not what their records say, and put the right bytes back",
    "gc": "remove what no committed shard names",
    "train_demo": "train the embedded model from nothing",
    "check_demo": "measure how well the embedded model follows captions",
    "bench": "measure speed as ratios: against the bare model, a plain script, Ray Data",
}
_CONF = str(Path(schema.__file__).parent)
INTERRUPTED = 130
BAD_INPUT = 2
FAILED = 1


def main() -> None:
    """Entry point of the `darkroom` command."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--version"]:
        print(f"darkroom {__version__}")
    elif not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
    elif arguments[0] not in JOBS:
        sys.exit(_complain(f"no job {arguments[0]!r}; jobs are {', '.join(JOBS)}"))
    else:
        run_job(arguments[0], arguments[1:])


def run_job(job: str, overrides: Sequence[str] | None = None) -> None:
    """Compose the job's configuration, run it, and end the process with its exit code."""
    overrides = sys.argv[1:] if overrides is None else overrides
    if {"-h", "--help"} & set(overrides):
        print(_help(job))
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    try:
        code = import_module(f"jobs.{job}").run(composed(job, overrides))
    except DarkroomError as error:
        code = _complain(str(error))
    except StoreError as error:
        _complain(f"{error}; then the same command goes on")
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    if code:
        _leave(code)


def composed(job: str, overrides: Sequence[str]) -> DictConfig:
    """The job's configuration. Raises DarkroomError for an unknown key, a wrong type or a missing value."""
    for added in (override.partition("=")[0] for override in overrides if override.startswith("+")):
        raise DarkroomError(f"{added}: keys cannot be added to this job, only set; see `darkroom {job} --help`")
    for key, _, value in (override.partition("=") for override in overrides):
        if has_credentials(value.strip("'\"")):
            raise credentials_in(key)
    schema.register()
    try:
        with initialize_config_dir(_CONF, version_base="1.3"):
            config = compose(job, [_quoted(override) for override in overrides])
        missing = sorted(str(key) for key in OmegaConf.missing_keys(config))
    except (HydraException, OmegaConfBaseException) as error:
        raise DarkroomError(f"{_first_line(error)}; see `darkroom {job} --help`") from error
    if missing:
        raise DarkroomError(f"{missing[0]} has no value; give it as {missing[0]}=..., see `darkroom {job} --help`")
    return config


def _quoted(override: str) -> str:
    """A cell's address, `uri#cell_id`, as Hydra's grammar takes it, which knows no bare #."""
    key, _, value = override.partition("=")
    plain = "#" in value and not set(value) & set("\"'[]{}")
    return f'{key}="{value}"' if plain else override


def interrupt(*_: Any) -> None:
    """A polite kill is treated as Ctrl-C is, and Ctrl-C also where a shell had it ignored."""
    raise KeyboardInterrupt


def _leave(code: int) -> None:
    """End without waiting for threads that still render, or hang: what is not committed does not exist."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _complain(text: str) -> int:
    print(f"darkroom: {redacted(text)}", file=sys.stderr)
    return BAD_INPUT


def _first_line(error: Exception) -> str:
    """And, where a key is unknown, the line that says so."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    reason = next((f" {line}" for line in lines[1:] if line.startswith("Key '")), "")
    return lines[0] + reason


def _overview() -> str:
    jobs = "\n".join(f"  {name:<12} {text}" for name, text in JOBS.items())
    return (
        f"darkroom {__version__}: prompts in, a committed dataset of images out\n\n"
        f"usage: darkroom <job> [key=value ...]\n\n{jobs}\n\n`darkroom <job> --help` shows a job's keys and defaults."
    )


def _help(job: str) -> str:
    schema.register()
    with initialize_config_dir(_CONF, version_base="1.3"):
        config = compose(job)
    keys = OmegaConf.to_yaml(config).rstrip().replace("???", "  # needed")
    groups = "\n\ngroups: prompts=demo|file|template, model=demo|diffusers|sd15|sdxl|paint, engine=ray|local"
    groups += ", preset=mlperf-sdxl"
    if "grid" in config:
        groups += ", grid=custom|guidance|samplers|both"
    return f"darkroom {job}: {JOBS[job]}\n\n{keys}{groups if 'prompts' in config else ''}"


if __name__ == "__main__":
    main()
