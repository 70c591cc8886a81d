"""A run's folder opens by itself once a command on it has ended."""

from darkroom.api.events import Noted, Progress
from darkroom.api.run import Run
from darkroom.exporting.run_folder import write_folder_card


def write_card(run: Run, progress: Progress) -> None:
    """Write the run's card, or say why it has none."""
    found = write_folder_card(run.store, run.info, run.cells)
    if found.why_not:
        progress(Noted(f"load_dataset will not open the run's folder by itself: {found.why_not}"))
