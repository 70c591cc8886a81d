"""Whether one set of images is worse than another, metric by metric, and the table that says so. Knows no store."""

from collections.abc import Mapping
from enum import Enum

from darkroom.evaluation.columns import aligned, arrow, decimals, interval, number
from darkroom.evaluation.pairs import Difference
from darkroom.runs.evaluations import MetricInfo


class Verdict(Enum):
    WORSE = "b is worse"
    BETTER = "b is better"
    OPEN = "no difference shown"


def verdict(info: MetricInfo, found: Difference, tolerance: float) -> Verdict:
    """Worse is where the whole 95 % interval of b - a lies further than `tolerance` on the worse side; better likewise.

    The tolerance is in the metric's own unit and at least 0. An interval that ends on it shows nothing.
    """
    low, high = (found.low, found.high) if info.higher_is_better else (-found.high, -found.low)
    if high < -tolerance:
        return Verdict.WORSE
    return Verdict.BETTER if low > tolerance else Verdict.OPEN


def comparison_table(infos: Mapping[str, MetricInfo], found: Mapping[str, Difference], tolerance: float) -> str:
    """A line a metric: both values over the pairs, b - a, its interval, the verdict; then conventions and warnings."""
    header = ["metric", "", "a", "b", "b - a", "95 % interval", "verdict"]
    rows = [_line(infos[name], difference, tolerance) for name, difference in found.items()]
    about = [f"{name}: {infos[name].convention}" for name in found]
    cautions = [f"warning: {name}: {text}" for name, difference in found.items() for text in difference.warnings]
    return "\n".join([aligned([header, *rows], num_left=1), "", *about, *cautions])


def _line(info: MetricInfo, found: Difference, tolerance: float) -> list[str]:
    places = decimals([found.baseline, found.value])
    # A difference may be a thousand times smaller than what it is between.
    near = max(places, min(8, decimals([found.low, found.high])))
    return [
        info.name,
        arrow(info.higher_is_better),
        number(found.baseline, places),
        number(found.value, places),
        f"{found.difference:+.{near}f}",
        interval(found.low, found.high, near),
        verdict(info, found, tolerance).value,
    ]
