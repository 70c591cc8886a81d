"""Render every cell of a grid as one job. A grid that grows renders its new cells alone."""

from omegaconf import DictConfig

from darkroom.jobs import generate
from darkroom.jobs.exits import ExitCode


def run(config: DictConfig) -> ExitCode:
    return generate.run(config)
