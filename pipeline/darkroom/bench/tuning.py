"""The batch size at which each way is fastest: ours by the product's own probe, a rival at the best that it shows."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from darkroom.bench.figure import Timing
from darkroom.bench.setting import Setting
from darkroom.bench.work import Work
from darkroom.rendering.batch_size import best_size, measured_rates


def tuned(
    setting: Setting, sizes: Sequence[int], timing_of: Callable[[int], Timing]
) -> tuple[int, Mapping[int, float]]:
    """(the best size, size -> things a second)."""
    rates = {size: timing_of(size).rate for size in sizes}
    setting.say("  tuned: " + ", ".join(f"batch {size}: {rate:.3g}/s" for size, rate in rates.items()))
    return max(rates, key=rates.__getitem__), rates


def with_own_best(setting: Setting, work: Work) -> Work:
    """The same in batches, and shards, of the size that `engine.batch_size=auto` finds."""
    rates = measured_rates(work.renderer, work.sampling)
    setting.say("  auto: " + ", ".join(f"batch {size}: {rate:.3g}/s" for size, rate in rates.items()))
    size = best_size(rates)
    return replace(work, batch_size=size, shard_size=size)
