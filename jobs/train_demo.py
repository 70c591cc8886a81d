"""Train the embedded model from nothing into a folder; killed and started again, it goes on at its last checkpoint."""

from pathlib import Path

from omegaconf import DictConfig

from darkroom.runs.commands import program, word


def run(config: DictConfig) -> int:
    from darkroom.demo.train import TrainSettings, train

    folder = Path(config.folder)
    settings = TrainSettings(seed=config.seed, num_threads=config.num_threads)
    train(settings, folder, lambda line: print(line, flush=True))
    print(f"{folder / 'model'} and {folder / 'clip'}")
    print(f"next: {program()} check_demo {word('model_folder', str(folder / 'model'))}")
    return 0
