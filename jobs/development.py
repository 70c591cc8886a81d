"""The jobs of Darkroom's development: `train_demo`, `train_demo_loras` and `check_demo`, the embedded model; `bench`,
speed as ratios."""

import json
import os
import sys
import tempfile
from pathlib import Path

from omegaconf import DictConfig

from darkroom.api.engine import local_device
from darkroom.bench.figure import Figure, Setting, as_json, as_table, chosen
from darkroom.bench.machine import machine, num_devices
from darkroom.demo import CLIP_FOLDER, LORAS_FOLDER, MODEL_FOLDER
from darkroom.domain.errors import DarkroomError
from darkroom.domain.process import num_cores
from darkroom.domain.setting_values import unknown
from darkroom.jobs.console import ExitCode
from darkroom.runs.commands import program, word

_DARKROOM = (sys.executable, "-m", "darkroom")


def train_demo(config: DictConfig) -> ExitCode:
    """Train the model from nothing into a folder; killed and started again, it goes on at its last checkpoint."""
    from darkroom.demo.train import TrainSettings, train

    folder = Path(config.folder)
    train(TrainSettings(seed=config.seed, num_threads=config.num_threads), folder, _say)
    print(f"{folder / 'model'} and {folder / 'clip'}")
    print(f"next: {program()} check_demo {word('model_folder', str(folder / 'model'))}")
    return ExitCode.OK


def train_demo_loras(config: DictConfig) -> ExitCode:
    """Train the model's LoRAs into a folder; killed and started again, it goes on at its last checkpoint."""
    from darkroom.demo.styles import STYLES
    from darkroom.demo.train_loras import LoraSettings, train_loras

    styles, model = config.styles or list(STYLES), _model_folder(config)
    for style in styles:
        if style not in STYLES:
            raise DarkroomError(f"styles={style}: {unknown(style, tuple(STYLES), 'style')}")
    folder = Path(config.folder)
    train_loras(LoraSettings(seed=config.seed, num_threads=config.num_threads), model, folder, _say, styles)
    print(f"next: {program()} check_demo {word('loras_folder', str(folder))}")
    return ExitCode.OK


def _model_folder(config: DictConfig) -> Path:
    folder = Path(config.model_folder or MODEL_FOLDER)
    if not (folder / "model_index.json").is_file():
        raise DarkroomError(f"model_folder={folder}: no model in diffusers' layout there; give the folder of one")
    kind = json.loads((folder / "model_index.json").read_bytes()).get("_class_name")
    if kind != "StableDiffusionPipeline":
        raise DarkroomError(f"model_folder={folder}: it is a {kind}; give a StableDiffusionPipeline of the drawn world")
    return folder


def check_demo(config: DictConfig) -> ExitCode:
    """Measure how well the model follows captions that it was never trained on, alone and with its LoRAs; exit code 1
    below the bar."""
    from darkroom.bench.demo_check import (
        GUIDANCES,
        Setting,
        check_clip,
        check_model,
        clip_meets_bar,
        curve_holds,
        meets_bar,
    )
    from darkroom.bench.style_check import MOST_CAPTIONS, check_loras, lora_files, styles_show

    model, loras = _model_folder(config), lora_files(Path(config.loras_folder or LORAS_FOLDER))
    clip = Path(config.clip_folder or CLIP_FOLDER)
    settings = [Setting(guidance, 20) for guidance in GUIDANCES] + [Setting(4.0, 5)]
    clip_figures = check_clip(clip, config.seed, _say)
    figures = check_model(model, clip, config.num_captions, config.seed, settings, _say)
    styles = check_loras(model, loras, min(config.num_captions, MOST_CAPTIONS), config.seed, _say)
    verdicts = {
        "captions followed at guidance 3 to 5": meets_bar(figures),
        "guidance helps and then hurts, 5 steps are worse than 20": curve_holds(figures),
        "the small CLIP": clip_meets_bar(clip_figures),
        "more weight of a LoRA shows more of its style": styles_show(styles),
    }
    for what, holds in verdicts.items():
        print(f"{what}: {'the bar is reached' if holds else 'BELOW THE BAR'}")
    return ExitCode.OK if all(verdicts.values()) else ExitCode.CHECK_FAILED


def bench(config: DictConfig) -> ExitCode:
    """Measure Darkroom against its ceilings and other ways to do the same, as ratios of one run: a table, and JSON."""

    _check_place(config)
    benchmarks = chosen(config.figures)
    figures: list[Figure] = []
    failed: list[str] = []
    about = machine()
    _warn(about)
    with tempfile.TemporaryDirectory(prefix="darkroom-bench-", ignore_cleanup_errors=True) as folder:
        try:
            for name, measure in benchmarks.items():
                print(f"{name} ...", flush=True)
                try:
                    figures += measure(_setting(config, Path(folder) / name))
                except DarkroomError as error:  # the others are measured all the same
                    failed.append(f"{name}: {error}")
                _write(config, figures, about)
        except KeyboardInterrupt:
            return ExitCode.INTERRUPTED
        finally:
            print(f"\n{as_table(figures)}", flush=True)
    print(f"\nevery repeat's seconds: {config.write_to}")
    for each in failed:
        print(f"not measured: {each}", file=sys.stderr)
    return ExitCode.CHECK_FAILED if failed else ExitCode.OK


def _check_place(config: DictConfig) -> None:
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


def _say(line: str) -> None:
    print(line, flush=True)
