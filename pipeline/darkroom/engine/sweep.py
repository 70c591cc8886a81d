"""Which cells a sweep renders: a grid's expansion, and an early choice among them by successive halving.

All of it is pure. Settings go by the names and values that the user gave; whether these are right is checked elsewhere.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import digest
from darkroom.domain.settings import Value

Settings = Mapping[str, Value]


@dataclass(frozen=True)
class Grid:
    """Which settings a sweep compares."""

    axes: Mapping[str, Sequence[Value]] = field(default_factory=dict)
    mode: str = "product"  # of the axes: every combination, or "zip": first values, second values, ...
    cells: Sequence[Settings] = ()  # more cells, each as its settings
    exclude: Sequence[Mapping[str, Value | Sequence[Value]]] = ()  # leaves out the cells that match all of one
    num_cells: int | None = None  # keep this many, drawn at random
    seed: int = 0  # of that draw


def expand(grid: Grid) -> list[Settings]:
    """The cells' settings, each once, in the order of the axes. Raises DarkroomError where there is none."""
    combine = _EXPANSIONS[grid.mode]
    found = [*(combine(grid.axes) if grid.axes else ()), *grid.cells]
    left = [settings for settings in _once(found) if not any(_matches(settings, rule) for rule in grid.exclude)]
    if not left:
        raise DarkroomError(
            "grid: no cell is left; give grid.axes such as grid.axes.guidance_scale=[1,3,5], and exclude less"
            if found
            else "grid.axes and grid.cells are empty; give grid.axes.guidance_scale=[1,3,5], say, or grid=guidance"
        )
    return _subset(left, grid.num_cells, grid.seed)


def _product(axes: Mapping[str, Sequence[Value]]) -> Iterator[Settings]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _zip(axes: Mapping[str, Sequence[Value]]) -> Iterator[Settings]:
    lengths = {name: len(values) for name, values in axes.items()}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} has {length}" for name, length in lengths.items())
        raise DarkroomError(f"grid.mode=zip needs axes of one length, and {said}; level them, or use grid.mode=product")
    for values in zip(*axes.values(), strict=True):
        yield dict(zip(axes, values, strict=True))


_EXPANSIONS = {"product": _product, "zip": _zip}


def _once(cells: Sequence[Settings]) -> list[Settings]:
    return list({repr(sorted(settings.items())): settings for settings in cells}.values())


def _matches(settings: Settings, rule: Mapping[str, Value | Sequence[Value]]) -> bool:
    return all(name in settings and _is_one_of(settings[name], values) for name, values in rule.items())


def _is_one_of(value: Value, values: Value | Sequence[Value]) -> bool:
    return value in values if isinstance(values, Sequence) and not isinstance(values, str) else value == values


def _subset(cells: list[Settings], count: int | None, seed: int) -> list[Settings]:
    """`count` of them in their old order; a cell's random number depends on the seed and on itself alone, so a grown
    grid keeps most of what it drew."""
    if count is None or count >= len(cells):
        return cells
    draws = {index: random.Random(f"{seed}:{sorted(cell.items())!r}").random() for index, cell in enumerate(cells)}
    return [cells[index] for index in sorted(sorted(draws, key=draws.__getitem__)[:count])]


# Successive halving (Jamieson and Talwalkar 2016): how much of each round, and which cells go on ---------------------


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
