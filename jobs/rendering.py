"""The jobs `plan`, `generate` and `sweep`: what is to be rendered, and the rendering of it."""

from omegaconf import DictConfig

from darkroom.jobs import printing, results, values
from darkroom.jobs.exits import ExitCode
from darkroom.storage.store import StoreError


def plan(config: DictConfig) -> ExitCode:
    """Check everything and say what `generate` would do: images, shards, bytes and time. Nothing is stored."""
    from darkroom.api import planning

    found = planning.plan(values.request(config), printing.Printer(), config.prompts.get("write_to"))
    results.planned(found)
    return ExitCode.OK


def generate(config: DictConfig) -> ExitCode:
    """Render a prompt dataset. The same command again goes on where it was, and renders nothing twice."""
    from darkroom.api.rendering import render

    with printing.Printer() as printer:
        try:
            result = render(values.request(config), printer)
        except KeyboardInterrupt:
            printer.stopped("interrupted")
            return ExitCode.INTERRUPTED
        except StoreError:
            printer.stopped("stopped")
            raise
    return results.rendered(result)


def sweep(config: DictConfig) -> ExitCode:
    """Render every cell of a grid as one job. A grid that grows renders its new cells alone."""
    return generate(config)
