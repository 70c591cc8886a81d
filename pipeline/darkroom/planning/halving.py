"""Successive halving (Jamieson and Talwalkar 2016) over a sweep's cells: how much of each round, and who goes on.

Pure. Knows neither what a figure means nor how images are made.
"""

import math
from collections.abc import Mapping

from darkroom.domain.identity import digest


def rounds(num_shards: int, first: int) -> list[int]:
    """Shards of every cell that are rendered by the end of each round: `first`, then twice as many, up to all."""
    found = [min(first, num_shards)]
    while found[-1] < num_shards:
        found.append(min(2 * found[-1], num_shards))
    return found


def drawn(fingerprint: str, starts: list[int], count: int) -> frozenset[int]:
    """First rows of the `count` shards that a round renders: a fair draw, and of more shards a part of it again."""
    return frozenset(sorted(starts, key=lambda start: digest("halving", fingerprint, start))[:count])


def survivors(figures: Mapping[str, float], keep: float, higher_is_better: bool) -> list[str]:
    """cell_ids of the best share, best first, at least one; cells without a figure (NaN) come last."""
    sign = -1 if higher_is_better else 1
    ranked = sorted(figures, key=lambda cell: (math.isnan(figures[cell]), sign * figures[cell], cell))
    return ranked[: max(1, math.ceil(keep * len(ranked)))]
