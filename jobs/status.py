"""Say what is committed, what failed and why, and what is left of a run."""

from omegaconf import DictConfig

from jobs.cli import run_job
from jobs.runs import opened
from pipeline.runs.reading import RunState, state
from pipeline.runs.run import RunInfo

_MAX_REASONS = 10


def run(config: DictConfig) -> int:
    store, run_info = opened(config)
    found = state(store, run_info)
    print(f"run:       {store.describe()}")
    _say_what(run_info)
    _say_state(found)
    return 0


def _say_what(run_info: RunInfo) -> None:
    sampling, prompts = run_info.sampling, run_info.prompts
    print(f"prompts:   {prompts.name}, {prompts.num_rows} rows, {run_info.num_images_per_prompt} image(s) each")
    print(f"model:     {run_info.identity.repo_id} {run_info.identity.revision[:19]} {run_info.identity.dtype}")
    print(
        f"sampling:  {sampling.scheduler}, guidance_scale {sampling.guidance_scale:g}, "
        f"{sampling.num_inference_steps} steps, {sampling.width}x{sampling.height}, seed {run_info.seed}"
    )


def _say_state(found: RunState) -> None:
    print(f"committed: {len(found.committed)} of {found.num_shards} shards, {found.num_bytes / 1e6:.1f} MB of images")
    print(f"records:   {', '.join(f'{count} {name}' for name, count in found.by_status.most_common()) or 'none'}")
    if found.num_truncated:
        print(f"truncated: {found.num_truncated} prompts were longer than the text encoder reads")
    for reason, count in found.errors.most_common(_MAX_REASONS):
        print(f"  {count} x {reason}")
    left = f"{found.num_rows_left} prompt rows; `darkroom generate` with the run's own settings goes on"
    print(f"left:      {'nothing' if found.is_complete else left}")


if __name__ == "__main__":
    run_job("status")
