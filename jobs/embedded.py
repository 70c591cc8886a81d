"""The jobs `train_demo` and `check_demo`: the embedded model, from nothing to its bar."""

from pathlib import Path

from omegaconf import DictConfig

from darkroom.demo import CLIP_FOLDER, MODEL_FOLDER
from darkroom.jobs.exits import ExitCode
from darkroom.runs.commands import program, word


def train_demo(config: DictConfig) -> ExitCode:
    """Train the model from nothing into a folder; killed and started again, it goes on at its last checkpoint."""
    from darkroom.demo.train import TrainSettings, train

    folder = Path(config.folder)
    train(TrainSettings(seed=config.seed, num_threads=config.num_threads), folder, _say)
    print(f"{folder / 'model'} and {folder / 'clip'}")
    print(f"next: {program()} check_demo {word('model_folder', str(folder / 'model'))}")
    return ExitCode.OK


def check_demo(config: DictConfig) -> ExitCode:
    """Measure how well the model follows captions that it was never trained on; exit code 1 below the bar."""
    from darkroom.demo.check import GUIDANCES, Setting, check_clip, check_model, clip_meets_bar, curve_holds, meets_bar

    model = Path(config.model_folder or MODEL_FOLDER)
    clip = Path(config.clip_folder or CLIP_FOLDER)
    settings = [Setting(guidance, 20) for guidance in GUIDANCES] + [Setting(4.0, 5)]
    clip_figures = check_clip(clip, config.seed, _say)
    figures = check_model(model, clip, config.num_captions, config.seed, settings, _say)
    verdicts = {
        "captions followed at guidance 3 to 5": meets_bar(figures),
        "guidance helps and then hurts, 5 steps are worse than 20": curve_holds(figures),
        "the small CLIP": clip_meets_bar(clip_figures),
    }
    for what, holds in verdicts.items():
        print(f"{what}: {'the bar is reached' if holds else 'BELOW THE BAR'}")
    return ExitCode.OK if all(verdicts.values()) else ExitCode.CHECK_FAILED


def _say(line: str) -> None:
    print(line, flush=True)
