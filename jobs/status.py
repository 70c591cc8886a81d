"""Say what is committed, what failed and why, and what is left of a run."""

from omegaconf import DictConfig

from darkroom.api.run import Run, RunStatus
from darkroom.jobs import values
from darkroom.jobs.exits import ExitCode
from darkroom.runs.cells import axes

_MAX_REASONS = 10
_MAX_CELLS = 50  # unfinished ones that are named


def run(config: DictConfig) -> ExitCode:
    found = values.run_of(config)
    status = found.status()
    print(f"run:       {found.store.describe()}")
    _say_what(found)
    _say_records(status)
    if status.dropped:
        print(f"dropped:   {len(status.dropped)} cells, by the sweep's early choice; the report says when and why")
    _say_left(found, status)
    for line in status.equal:
        print(f"equal:     {line}")
    return ExitCode.OK


def _say_what(found: Run) -> None:
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
        for name, values_of_axis in axes(found.cells.values()).items():
            print(f"  {name}: {', '.join(str(value) for value in values_of_axis)}")


def _say_records(status: RunStatus) -> None:
    size = status.num_bytes / 1e6
    print(f"committed: {status.num_committed} of {status.num_shards} shards, {size:.1f} MB of images")
    counted = status.by_status.most_common()
    print(f"records:   {', '.join(f'{count} {name}' for name, count in counted) or 'none'}")
    if status.num_truncated:
        print(f"truncated: {status.num_truncated} prompts were longer than the text encoder reads")
    for reason, count in status.errors.most_common(_MAX_REASONS):
        print(f"  {count} x {reason}")


def _say_left(found: Run, status: RunStatus) -> None:
    left = status.num_rows_left
    print(f"left:      {f'{left} prompt rows; the command that started the run goes on' if left else 'nothing'}")
    names = axes(found.cells.values())
    for cell_id, state in list(status.unfinished.items())[:_MAX_CELLS] if names else []:
        settings = found.cells[cell_id].settings
        said = ", ".join(f"{name.split('.')[1]} {settings[name]}" for name in names)
        print(f"  {len(state.committed)} of {state.num_shards} shards: {said}")
