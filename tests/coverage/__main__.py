"""The long measurement: coverage of every interval, and false alarms among equal cells, as two tables.

`make coverage`, or `python -m tests.coverage --num-sets 300 --shapes heavy --dimensions 8 --prompts 64`.
"""

import argparse
import platform
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tests.coverage import METRICS, SHAPES, Law, coverage, false_alarms

_LAYOUTS = ("1", "4", "1 to 8")  # images of a prompt
_NUM_CELLS = 12


def main() -> None:
    asked = _arguments()
    print(f"{time.strftime('%Y-%m-%d')}, {_processor()}, sets from seed {asked.seed} on")
    if asked.num_sets:
        _print_coverage(asked)
    if asked.num_sweeps:
        _print_false_alarms(asked)


def _print_coverage(asked: argparse.Namespace) -> None:
    spread = 100 * (0.95 * 0.05 / asked.num_sets) ** 0.5
    print(
        f"95 % intervals of {asked.num_sets} sets a line: % that hold the truth, of figures / of gaps between two "
        f"equal cells, each to some {spread:.1f}"
    )
    print(_row("features", "dimensions", "prompts", "images each", asked.metrics))
    for law, num_prompts in _lines(asked):
        for layout in asked.layouts:
            found = coverage(law, _counts(layout, num_prompts), asked.num_sets, asked.metrics, asked.seed)
            shares = [f"{100 * found[name].of_figure:.0f} / {100 * found[name].of_gap:.0f}" for name in asked.metrics]
            print(_row(law.shape, law.dimension, num_prompts, layout, shares), flush=True)


def _print_false_alarms(asked: argparse.Namespace) -> None:
    print(
        f"\n% of {asked.num_sweeps} sweeps of {_NUM_CELLS} equal cells in which one is told from the best, and of "
        "comparisons of two cells that differ by any metric"
    )
    print(_row("features", "dimensions", "prompts", "images each", [*asked.metrics, "compared"]))
    for law, num_prompts in _lines(asked):
        alarms = false_alarms(law, [1] * num_prompts, _NUM_CELLS, asked.num_sweeps, asked.metrics)
        shares = _percent({**alarms.of_sweep, "compared": alarms.of_comparison})
        print(_row(law.shape, law.dimension, num_prompts, "1", shares), flush=True)


def _lines(asked: argparse.Namespace) -> list[tuple[Law, int]]:
    """Laws, and numbers of prompts that are no fewer than twice the dimensions."""
    laws = [Law(dimension, shape) for shape in asked.shapes for dimension in asked.dimensions]
    return [(law, count) for law in laws for count in asked.prompts if count >= 2 * law.dimension]


def _processor() -> str:
    """Its name, where the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())


def _counts(layout: str, num_prompts: int) -> list[int]:
    if layout == "1 to 8":
        return np.random.default_rng(0).integers(1, 9, num_prompts).tolist()
    return [int(layout)] * num_prompts


def _percent(shares: Mapping[str, float]) -> list[str]:
    return [f"{100 * share:.0f}" for share in shares.values()]


def _row(features: str, dimension: object, num_prompts: object, layout: str, entries: Sequence[str]) -> str:
    return f"{features:>10}  {dimension:>10}  {num_prompts:>7}  {layout:>11}" + "".join(
        f"  {entry:>10}" for entry in entries
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-sets", type=int, default=200, help="a line; 0 leaves the table out")
    parser.add_argument("--num-sweeps", type=int, default=100, help="a line; 0 leaves the table out")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES))
    parser.add_argument("--dimensions", type=int, nargs="+", default=[8, 32])
    parser.add_argument("--prompts", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--layouts", nargs="+", choices=_LAYOUTS, default=["1", "4"])
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=METRICS)
    parser.add_argument("--seed", type=int, default=0, help="of the first set")
    return parser.parse_args()


if __name__ == "__main__":
    main()
