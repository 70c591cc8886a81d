"""The batch size at which another way is fastest: a rival is measured at its best."""

from collections.abc import Callable, Mapping, Sequence

from pipeline.bench.figure import Timing
from pipeline.bench.setting import Setting


def tuned(
    setting: Setting, sizes: Sequence[int], timing_of: Callable[[int], Timing]
) -> tuple[int, Mapping[int, float]]:
    """(the best size, size -> things a second)."""
    rates = {size: timing_of(size).rate for size in sizes}
    setting.say("  tuned: " + ", ".join(f"batch {size}: {rate:.3g}/s" for size, rate in rates.items()))
    return max(rates, key=rates.__getitem__), rates
