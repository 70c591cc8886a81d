"""Say what is committed, what failed and why, and what is left of a run."""

from collections import Counter
from collections.abc import Sequence

from omegaconf import DictConfig

from darkroom.jobs.runs import OpenedRun, opened
from darkroom.runs.cells import axes, dropped_cells
from darkroom.runs.equal_pixels import equal_lines
from darkroom.runs.reading import CellState, states

_MAX_REASONS = 10
_MAX_CELLS = 50  # unfinished ones that are named


def run(config: DictConfig) -> int:
    found = opened(config)
    cells = states(found.store, found.info, found.cells)
    print(f"run:       {found.store.describe()}")
    _say_what(found)
    dropped = dropped_cells(found.store) & cells.keys()
    _say_records(list(cells.values()))
    if dropped:
        print(f"dropped:   {len(dropped)} cells, by the sweep's early choice; the report says when and why")
    _say_left(found, {cell_id: state for cell_id, state in cells.items() if cell_id not in dropped})
    for line in equal_lines(found.store, found.cells, found.info):
        print(f"equal:     {line}")
    return 0


def _say_what(found: OpenedRun) -> None:
    info = found.info
    print(f"prompts:   {info.prompts.name}, {info.prompts.num_rows} rows, {info.num_images_per_prompt} image(s) each")
    for identity in dict.fromkeys(item.cell.model for item in found.cells.values()):
        print(f"model:     {identity.repo_id} {identity.revision[:19]} {identity.dtype}")
    if len(found.cells) == 1:
        (sampling,) = [item.cell.sampling for item in found.cells.values()]
        print(
            f"sampling:  {sampling.scheduler}, guidance_scale {sampling.guidance_scale:g}, "
            f"{sampling.num_inference_steps} steps, {sampling.width}x{sampling.height}, seed {info.seed}"
        )
    else:
        print(f"cells:     {len(found.cells)}, seed {info.seed}")
        for name, values in axes(found.cells.values(), found.info).items():
            print(f"  {name}: {', '.join(str(value) for value in values)}")


def _say_records(cells: Sequence[CellState]) -> None:
    by_status = sum((cell.by_status for cell in cells), Counter())
    errors = sum((cell.errors for cell in cells), Counter())
    num_truncated = sum(cell.num_truncated for cell in cells)
    done, total = sum(len(cell.committed) for cell in cells), sum(cell.num_shards for cell in cells)
    print(f"committed: {done} of {total} shards, {sum(cell.num_bytes for cell in cells) / 1e6:.1f} MB of images")
    print(f"records:   {', '.join(f'{count} {name}' for name, count in by_status.most_common()) or 'none'}")
    if num_truncated:
        print(f"truncated: {num_truncated} prompts were longer than the text encoder reads")
    for reason, count in errors.most_common(_MAX_REASONS):
        print(f"  {count} x {reason}")


def _say_left(found: OpenedRun, cells: dict[str, CellState]) -> None:
    left = sum(cell.num_rows_left for cell in cells.values())
    print(f"left:      {f'{left} prompt rows; the command that started the run goes on' if left else 'nothing'}")
    unfinished = [(cell_id, state) for cell_id, state in cells.items() if state.num_rows_left]
    names = axes(found.cells.values(), found.info)
    for cell_id, state in unfinished[:_MAX_CELLS] if names else []:
        settings = found.cells[cell_id].settings_in(found.info)
        said = ", ".join(f"{name.split('.')[1]} {settings[name]}" for name in names)
        print(f"  {len(state.committed)} of {state.num_shards} shards: {said}")
