"""The long measurement: coverage of every interval, and false alarms among equal cells, as two tables.

`make coverage`, or `python -m tests.coverage --num-sets 400 --dimensions 8 32 --prompts-a-dimension 2 8`: an hour.
"""

import argparse
from collections.abc import Mapping, Sequence

import numpy as np

from tests.coverage import METRICS, Law, coverage, false_alarms

_LAYOUTS = ("1", "4", "1 to 8")  # images of a prompt
_NUM_CELLS = 12


def main() -> None:
    asked = _arguments()
    spread = 100 * (0.95 * 0.05 / asked.num_sets) ** 0.5
    print(
        f"95 % intervals of {asked.num_sets} sets a line: % that hold the truth, of figures / of gaps between two "
        f"equal cells, each to some {spread:.1f}"
    )
    print(_row("dimensions", "prompts", "images each", METRICS))
    sizes = [(dimension, ratio * dimension) for dimension in asked.dimensions for ratio in asked.prompts_a_dimension]
    for dimension, num_prompts, layout in ((*size, layout) for size in sizes for layout in asked.layouts):
        found = coverage(Law(dimension, asked.shift, asked.round), _counts(layout, num_prompts), asked.num_sets)
        shares = [f"{100 * found[name].of_figure:.0f} / {100 * found[name].of_gap:.0f}" for name in METRICS]
        print(_row(dimension, num_prompts, layout, shares), flush=True)
    print(
        f"\n% of {asked.num_sets // 4} sweeps of {_NUM_CELLS} equal cells in which one is told from the best, and of "
        "comparisons of two cells that differ by any metric"
    )
    print(_row("dimensions", "prompts", "images each", [*METRICS, "compared"]))
    for dimension, num_prompts in sizes:
        alarms = false_alarms(
            Law(dimension, asked.shift, asked.round), [1] * num_prompts, _NUM_CELLS, asked.num_sets // 4
        )
        shares = _percent({**alarms.of_sweep, "compared": alarms.of_comparison})
        print(_row(dimension, num_prompts, "1", shares), flush=True)


def _counts(layout: str, num_prompts: int) -> list[int]:
    if layout == "1 to 8":
        return np.random.default_rng(0).integers(1, 9, num_prompts).tolist()
    return [int(layout)] * num_prompts


def _percent(shares: Mapping[str, float]) -> list[str]:
    return [f"{100 * share:.0f}" for share in shares.values()]


def _row(dimension: object, num_prompts: object, layout: str, entries: Sequence[str]) -> str:
    return f"{dimension:>10}  {num_prompts:>7}  {layout:>11}" + "".join(f"  {entry:>11}" for entry in entries)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-sets", type=int, default=400)
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--prompts-a-dimension", type=int, nargs="+", default=[2, 8])
    parser.add_argument("--layouts", nargs="+", choices=_LAYOUTS, default=_LAYOUTS)
    parser.add_argument("--round", action="store_true", help="dimensions that vary alike")
    parser.add_argument("--shift", type=float, default=Law.shift)
    return parser.parse_args()


if __name__ == "__main__":
    main()
