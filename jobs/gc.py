"""Remove what no committed shard of a complete run names: images of attempts that lost, and broken writes."""

from omegaconf import DictConfig

from darkroom.api.garbage import collect
from darkroom.jobs.exits import ExitCode


def run(config: DictConfig) -> ExitCode:
    found = collect(config.run, config.endpoint_url, config.older_than_s, config.dry_run, config.incomplete)
    print(
        f"{len(found.objects)} objects ({found.num_bytes / 1e6:.1f} MB) that no shard names, and "
        f"{found.num_broken_writes} broken writes {'would be removed' if config.dry_run else 'removed'}"
    )
    if found.strangers:
        print(f"{len(found.strangers)} files there that no job writes stay, such as {found.strangers[0]}")
    return ExitCode.OK
