"""Render a prompt dataset. The same command again goes on where it was, and renders nothing twice."""

from omegaconf import DictConfig

from darkroom.api.rendering import render
from darkroom.jobs import printing, values
from darkroom.jobs.exits import ExitCode
from darkroom.storage.store import StoreError


def run(config: DictConfig) -> ExitCode:
    """Also of a sweep's configuration."""
    with printing.Printer() as printer:
        try:
            result = render(values.request(config), printer)
        except KeyboardInterrupt:
            printer.stopped("interrupted")
            return ExitCode.INTERRUPTED
        except StoreError:
            printer.stopped("stopped")
            raise
    return printing.rendered(result)
