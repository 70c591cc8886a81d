"""Check everything and say what `generate` would do: images, shards, bytes and time. Renders nothing into the run."""

from omegaconf import DictConfig

from darkroom.api.planning import Plan, plan
from darkroom.jobs import printing, values
from darkroom.jobs.exits import ExitCode


def run(config: DictConfig) -> ExitCode:
    _say(plan(values.request(config), printing.Printer(), config.prompts.get("write_to")))
    return ExitCode.OK


def _say(found: Plan) -> None:
    prompts, model = found.prompts, found.model
    print(
        f"prompts: {prompts.num_rows} rows, {prompts.num_invalid} of them invalid, fingerprint "
        f"{prompts.fingerprint[:16]}"
    )
    if prompts.overriding:
        print(f"rows that override a setting: {prompts.overriding}; prompts.columns.<setting>=null leaves the run's")
    print(f"model:   {found.repo_id} {model.revision[:19]} {model.dtype}")
    print(f"output:  {found.place}")
    print(f"images:  {found.num_images}, in {found.num_shards} shards of {found.shard_size} prompts")
    if found.cost is None or found.num_bytes is None or found.seconds is None:
        print("bytes:   unknown, and time too: no prompt of the first ones is valid")
        return
    print(f"bytes:   about {_readable(found.num_bytes)} ({_readable(found.cost.size_bytes)} an image)")
    print(
        f"time:    about {_duration(found.seconds)} on {found.num_workers} worker(s) such as this {found.device} "
        f"({found.cost.seconds:.3f} s an image)"
    )


def _readable(size_bytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:
            return f"{size_bytes:.1f} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.1f} TB"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
