"""What a job renders: the cells of a grid, their shards with their prompt rows, and which cells of a sweep go on.

Pure, but that prompt rows are read as they are needed. Settings go by the names and values that the user gave; whether
these are right is checked elsewhere.
"""

import math
import random
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from darkroom.domain.axis_values import axis_values
from darkroom.domain.errors import DarkroomError
from darkroom.domain.identity import Cell, Shard, digest, planned_shard
from darkroom.domain.setting_values import as_said
from darkroom.domain.settings import SETTINGS, Value
from darkroom.engine.tasks import ShardTask
from darkroom.prompts.dataset import PromptBlock
from darkroom.prompts.windows import RowWindow

Settings = Mapping[str, Value]
LEAST_SHARD = 64  # prompt rows
_MANY_SHARDS = 100_000
_LARGEST_SHARD = 4096  # images


@dataclass(frozen=True)
class Grid:
    """Which settings a sweep compares."""

    axes: Mapping[str, Sequence[Value]] = field(default_factory=dict)  # given with ranges, such as "1-10 (+2)"
    mode: str = "product"  # of the axes: every combination, or "zip": first values, second values, ...
    cells: Sequence[Settings] = ()  # more cells, each as its settings
    exclude: Sequence[Mapping[str, Value | Sequence[Value]]] = ()  # leaves out the cells that match all of one
    num_cells: int | None = None  # keep this many, drawn at random
    seed: int = 0  # of that draw

    def __post_init__(self) -> None:
        """Read the axes' ranges. Raises DarkroomError for one that is none."""
        axes = {
            name: axis_values(f"grid.axes.{name}", SETTINGS[name], values) if name in SETTINGS else values
            for name, values in self.axes.items()
        }
        object.__setattr__(self, "axes", axes)


def expand(grid: Grid) -> list[Settings]:
    """The cells' settings, each once, in the order of the axes. Raises DarkroomError where there is none, and for a
    rule that excludes none.
    """
    combine = _EXPANSIONS[grid.mode]
    found = [*(combine(grid.axes) if grid.axes else ()), *grid.cells]
    for rule in grid.exclude:
        if found and not any(_matches(settings, rule) for settings in found):
            said = ", ".join(f"{name}: {as_said(value)}" for name, value in rule.items())
            raise DarkroomError(
                f"grid.exclude: no cell is left out by {{{said}}}; give values that the grid's axes or cells have, or "
                "leave it out"
            )
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


# Shards --------------------------------------------------------------------------------------------------------------


def plan(
    num_rows: int,
    shard_size: int,
    cell_ids: Sequence[str],
    fingerprint: str,
    committed: Container[Shard] = (),
    first: int = 0,
) -> Iterator[Shard]:
    """Shards that are not committed, range by range and cell by cell within a range, from row `first` on.

    A pure function. This order lets a worker reuse the text embeddings of a range in the next cell.
    """
    for start in range(first, first + num_rows, shard_size):
        stop = min(start + shard_size, first + num_rows)
        for cell_id in cell_ids:
            planned = planned_shard(cell_id, fingerprint, start, stop)
            if planned not in committed:
                yield planned


def usual_shard_size(num_rows: int, num_cells: int, images_a_row: int) -> int:
    """Prompt rows a shard, of a run that begins: a function of what is rendered, whoever renders it.

    Small shards lose little when a worker dies and spread over many workers; each costs requests, and every look at the
    run costs some for each. So more rows than 64 are taken from 100,000 shards on, up to some thousand images.
    """
    size = LEAST_SHARD
    while num_rows * num_cells > size * _MANY_SHARDS and 2 * size * images_a_row <= _LARGEST_SHARD:
        size *= 2
    return size


def num_shards(num_rows: int, shard_size: int) -> int:
    """Of one cell."""
    return -(-num_rows // shard_size)


def shard_tasks(
    shards: Iterable[Shard], cells: Mapping[str, Cell], blocks: Callable[[int], Iterator[PromptBlock]]
) -> Iterator[ShardTask]:
    """Pair shards (in row order) with their rows; `blocks(start)` reads the dataset from row `start` on.

    One pass, in the memory of one shard and one block; rows before the first shard are not read where the format
    can skip them.
    """
    window: RowWindow | None = None
    for planned in shards:
        window = window or RowWindow(blocks(planned.start))
        rows, extras = window.rows(planned.start, planned.stop)
        yield ShardTask(planned, cells[planned.cell_id], tuple(rows), extras)


# Successive halving (Jamieson and Talwalkar 2016): how much of each round, and which cells go on ---------------------


def rounds(num_shards: int, first: int) -> list[int]:
    """Shards of every cell that are rendered by the end of each round: `first`, then twice as many, up to all."""
    found = [min(first, num_shards)]
    while found[-1] < num_shards:
        found.append(min(2 * found[-1], num_shards))
    return found


def drawn(fingerprint: str, first_rows: list[int], count: int) -> frozenset[int]:
    """`first_rows` of the `count` shards that a round renders: a fair draw, and of more shards a part of it again."""
    return frozenset(sorted(first_rows, key=lambda start: digest("halving", fingerprint, start))[:count])


def survivors(figures: Mapping[str, float], keep: float, higher_is_better: bool) -> list[str]:
    """cell_ids of the best share, best first, at least one; cells without a figure (NaN) come last."""
    sign = -1 if higher_is_better else 1
    ranked = sorted(figures, key=lambda cell: (math.isnan(figures[cell]), sign * figures[cell], cell))
    return ranked[: num_survivors(len(ranked), keep)]


def num_survivors(num_cells: int, keep: float) -> int:
    """Of a round."""
    return max(1, math.ceil(keep * num_cells))
