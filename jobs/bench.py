"""Measure Darkroom against its ceilings and other ways to do the same, as ratios of one run: a table, and JSON."""

import json
import os
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from darkroom.api.engine import local_device
from darkroom.bench.figure import Figure, Setting, as_json, as_table, chosen
from darkroom.bench.machine import machine, num_cores, num_devices
from darkroom.domain.errors import DarkroomError
from darkroom.jobs.exits import ExitCode

_DARKROOM = (sys.executable, "-m", "darkroom")


def bench(config: DictConfig) -> ExitCode:
    _check(config)
    benchmarks = chosen(config.figures)
    figures: list[Figure] = []
    about = machine()
    _warn(about)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-", ignore_cleanup_errors=True) as folder:
        try:
            for name, measure in benchmarks.items():
                print(f"{name} ...", flush=True)
                figures += measure(_setting(config, Path(folder) / name))
                _write(config, figures, about)
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        finally:
            print(f"\n{as_table(figures)}", flush=True)
    print(f"\nevery repeat's seconds: {config.write_to}")
    return ExitCode.OK


def _check(config: DictConfig) -> None:
    if not Path(config.write_to).absolute().parent.is_dir():
        raise DarkroomError(f"write_to={config.write_to}: its folder does not exist; make it, or name another file")


def _warn(about: dict[str, object]) -> None:
    if os.getloadavg()[0] > num_cores() / 2:
        print(
            f"warning: this machine is busy (load {about['load_before']}); its figures will say little", file=sys.stderr
        )


def _setting(config: DictConfig, folder: Path) -> Setting:
    folder.mkdir()
    device = local_device(config.device.value)
    return Setting(
        folder=folder,
        scale=config.scale,
        num_repeats=config.num_repeats,
        device=device,
        num_workers=config.num_workers or num_devices(device),
        darkroom=_DARKROOM,
        say=lambda line: print(line, flush=True),
    )


def _write(config: DictConfig, figures: list[Figure], about: dict[str, object]) -> None:
    """After each figure: a long run that ends early keeps what it has."""
    setting = {"scale": config.scale, "num_repeats": config.num_repeats, "num_workers": config.num_workers}
    value = as_json(figures, about, {**setting, "device": local_device(config.device.value)})
    Path(config.write_to).write_text(json.dumps(value, indent=2) + "\n")
