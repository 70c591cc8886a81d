"""What votes on blind pairs came to, as text for a terminal: cells, each two of them, raters, and metrics."""

import math
from collections.abc import Mapping, Sequence
from textwrap import fill

from darkroom.evaluation.figure_tables import Settings, cell_names, figures_table
from darkroom.evaluation.figures import Figures, Gaps, Metric
from darkroom.evaluation.paired_comparisons import Agreement, half_width, votes_needed
from darkroom.evaluation.raters import MetricAgreement, RaterInfo, TwoCells
from darkroom.evaluation.resampling import Interval
from darkroom.evaluation.tables import Table, interval, number, text_table
from darkroom.storage.input_files import one_line

_PLACES = 3
_LINE = 120  # characters
_WIDTH = 0.05  # half an interval, that votes are counted for
_ABOUT_RATERS = (
    "left: share of left in the choices of a side, a half but for chance, since sides are drawn; again: share of pairs "
    "that came again, with their sides changed, on which the choice was the same"
)


def ratings_table(
    metrics: Mapping[str, Metric],
    cells: Mapping[str, Figures],
    settings: Settings,
    gaps: Gaps,
    twos: Sequence[TwoCells],
    raters: Sequence[RaterInfo],
    agreement: Agreement | None,
    of_metrics: Sequence[MetricAgreement],
) -> str:
    """Several tables, each with what it needs to be understood; last how many more votes would say more."""
    parts = [
        figures_table(metrics, cells, settings, gaps),
        *([_twos_table(twos, list(cells), settings)] if len(cells) > 2 else []),
        f"{_raters_table(raters)}\n{fill(_ABOUT_RATERS, _LINE)}",
        fill(_agreement(agreement), _LINE),
        *([_metrics_table(of_metrics)] if of_metrics else []),
        fill(_reached(twos, len(cells)), _LINE),
    ]
    return "\n\n".join(parts)


def expected_lines(num_cells: int, num_pairs: int) -> list[str]:
    """How well so many pairs, each rated once, tell what they are for: by the rule z sqrt(p (1 - p) / n)."""
    num_twos = math.comb(num_cells, 2)
    of_two = f"between two cells to ± {half_width(num_pairs / num_twos):.2g}"
    told = f"the win rate {of_two}"
    if num_cells > 2:
        told = f"each cell's win rate to ± {half_width(2 * num_pairs / num_cells):.2g}, those {of_two}"
    return [f"a rater's votes on all pairs tell {told}, near 0.5 and without ties", _rule(num_twos)]


def _rule(num_twos: int) -> str:
    each = votes_needed(_WIDTH)
    in_all = f", {each * num_twos:,} in all" if num_twos > 1 else ""
    return f"± {_WIDTH} takes {each:,} votes on different prompts for each two cells{in_all}: 1.96² / 4 / {_WIDTH}²"


def _twos_table(twos: Sequence[TwoCells], cell_ids: Sequence[str], settings: Settings) -> str:
    names = dict(zip(cell_ids, (", ".join(name) for name in cell_names(cell_ids, settings)[1:]), strict=True))
    rows = [
        [
            names[each.cell_id],
            names[each.other],
            f"{each.num_votes:,}",
            f"{each.num_ties:,}",
            number(each.rate.estimate, _PLACES),
            interval(each.rate.low, each.rate.high, _PLACES),
        ]
        for each in twos
    ]
    headings = [", ".join(cell_names(cell_ids, settings)[0]), "against", "votes", "ties", "win rate", "95 % interval"]
    return text_table(Table(headings, rows, num_left=2))


def _raters_table(raters: Sequence[RaterInfo]) -> str:
    rows = [
        [
            one_line(each.name),
            f"{each.num_votes:,}",
            f"{each.num_skipped:,}",
            f"{each.num_ties:,}",
            _share(each.left),
            f"{_share(each.steady)} of {each.num_repeats}" if each.steady else "-",
            "-" if each.seconds is None else f"{each.seconds:.1f} s",
        ]
        for each in raters
    ]
    return text_table(Table(["rater", "votes", "skipped", "ties", "left", "again", "median"], rows))


def _agreement(found: Agreement | None) -> str:
    if found is None:
        return "agreement: no pair has votes of several raters"
    alpha = "-, since all votes are alike" if math.isnan(found.alpha.estimate) else _share(found.alpha)
    return (
        f"agreement on {found.num_units:,} pairs with several raters: two raters' votes are the same in "
        f"{_share(found.same)}; Krippendorff's alpha (nominal) {alpha}"
    )


def _metrics_table(found: Sequence[MetricAgreement]) -> str:
    rows = [
        [
            each.metric,
            f"{each.num_votes:,}",
            number(each.rate.estimate, _PLACES),
            interval(each.rate.low, each.rate.high, _PLACES),
        ]
        for each in found
    ]
    table = text_table(Table(["metric", "votes", "agrees", "95 % interval"], rows))
    return f"{table}\nagrees: share of votes but ties in which the chosen image has the higher score; by chance 0.5"


def _reached(twos: Sequence[TwoCells], num_cells: int) -> str:
    widest = max(twos, key=lambda each: each.rate.high - each.rate.low)
    reached = (widest.rate.high - widest.rate.low) / 2
    which = "the win rate between two cells is" if len(twos) == 1 else "win rates between two cells are"
    return f"{which} known to ± {reached:.2g}{'' if len(twos) == 1 else ' or better'}; {_rule(math.comb(num_cells, 2))}"


def _share(found: Interval | None) -> str:
    return f"{number(found.estimate, 2)} {interval(found.low, found.high, 2)}" if found else "-"
