"""Which setting, and how sure: the few metrics that decide between cells, and what they say together, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.evaluation.figures import reference_of
from darkroom.evaluation.latest import Question, question
from darkroom.evaluation.tables import setting_text
from darkroom.reporting.columns import MetricColumn
from darkroom.reporting.content import Axis, CellResult

_MOST_NAMED = 3  # cells in a sentence


@dataclass(frozen=True)
class Decision:
    """What the key metrics say of several cells."""

    text: str  # which setting, in a sentence
    doubt: str  # how sure that is; empty where the text says so
    cell_ids: tuple[str, ...]  # best, or not told apart from the best, by each; the first one's best first


def key_columns(columns: Sequence[MetricColumn]) -> list[MetricColumn]:
    """The first metric that ranks cells, of each question that was measured, as closeness to each of several
    references; in the order of questions."""
    found: dict[tuple[Question | None, str], MetricColumn] = {}
    for column in columns:
        if column.order:
            found.setdefault((question(column.metric), reference_of(column.metric.name)), column)
    return [column for each in Question for (asked, _), column in found.items() if asked is each]


def why_these(keys: Sequence[MetricColumn], columns: Sequence[MetricColumn]) -> str:
    """How the key metrics were chosen, where there are more."""
    if not keys or len(keys) == len(columns):
        return ""
    said = ", ".join(f"{_titles([column])} for {_asked(column)}" for column in keys)
    left = len(columns) - len(keys)
    return f"Of each question the first metric that ranks cells: {said}. The table has {left} more."


def _asked(column: MetricColumn) -> str:
    asked, named = question(column.metric), reference_of(column.metric.name)
    return "" if asked is None else f"closeness to {named}" if named else asked.value


def decision(cells: Sequence[CellResult], axes: Sequence[Axis], keys: Sequence[MetricColumn]) -> Decision | None:
    """None where there is nothing to decide between, or nothing to decide by."""
    deciding = [column for column in keys if column.has_winner]
    if len(cells) < 2 or not keys:
        return None
    if not deciding:
        return Decision(
            f"No setting is shown to be better than the others by {_titles(keys)}.",
            f"{_num_images(keys)} images a cell do not tell them apart; more would.",
            (),
        )
    leading = [column.best | column.rivals for column in deciding]
    first = [cell.cell_id for cell in deciding[0].order]  # all that it ranks, so all that share its best
    shared = [cell for cell in cells if all(cell.cell_id in group for group in leading)]
    shared.sort(key=lambda cell: first.index(cell.cell_id))
    text = _agreed(shared, axes, deciding) if shared else _split(axes, deciding)
    doubt = _doubt(deciding)
    if len(shared) > _MOST_NAMED:
        doubt += f" More than {_num_images(deciding)} images a cell would tell more of them apart."
    return Decision(text, doubt, tuple(cell.cell_id for cell in shared))


def settings_words(cell: CellResult, axes: Sequence[Axis]) -> str:
    """Such as "guidance_scale 5, scheduler euler"."""
    return ", ".join(f"{axis.name} {setting_text(cell.settings[axis.name])}" for axis in axes)


def _agreed(shared: Sequence[CellResult], axes: Sequence[Axis], deciding: Sequence[MetricColumn]) -> str:
    said = f"best, or not told apart from the best, by {_titles(deciding)}"
    if len(shared) == 1:
        return f"{settings_words(shared[0], axes)}: {said}."
    few = len(shared) <= _MOST_NAMED
    named = "; ".join(settings_words(cell, axes) for cell in (shared if few else shared[:1]))
    among = "" if few else f"first among them by {_titles(deciding[:1])} "
    counts = f"{len(shared)} of {len(deciding[0].cells)} cells"
    told = "" if few else _told_apart(shared, axes)
    return f"{counts} share the best by {_titles(deciding)}: {among}{named}.{told}{_cheapest(shared, axes)}"


def _told_apart(shared: Sequence[CellResult], axes: Sequence[Axis]) -> str:
    """Settings that none of the best has, which say more than a list of the best."""
    of_best = {axis.name: [cell.settings[axis.name] for cell in shared] for axis in axes}
    found = [
        f"{axis.name} {' or '.join(map(setting_text, absent))}"
        for axis in axes
        if (absent := [value for value in axis.values if value not in of_best[axis.name]])
    ]
    return f" None of them has {', or '.join(found)}." if found else ""


def _cheapest(shared: Sequence[CellResult], axes: Sequence[Axis]) -> str:
    """Of equals, those with the fewest steps: what is cheaper and not worse."""
    steps = "num_inference_steps"
    if not any(axis.name == steps for axis in axes):
        return ""
    fewest = min(cell.settings[steps] for cell in shared)
    cheap = [cell for cell in shared if cell.settings[steps] == fewest]
    if len(cheap) == len(shared):
        return ""
    named = f": {settings_words(cheap[0], axes)}" if len(cheap) == 1 else f", in {len(cheap)} of them"
    return f" Their fewest steps are {setting_text(fewest)}{named}."


def _split(axes: Sequence[Axis], deciding: Sequence[MetricColumn]) -> str:
    best = "; ".join(f"{_titles([column])}: {settings_words(column.order[0], axes)}" for column in deciding)
    return f"No setting is best by all of {_titles(deciding)}. Best {best}. The trade-off is yours to make."


def _doubt(deciding: Sequence[MetricColumn]) -> str:
    bare = [column for column in deciding if column.is_bare]
    if bare:
        return f"{_titles(bare)} stand without intervals, so that chance may have chosen the best."
    if all(column.gaps for column in deciding):
        return "By differences image by image, whose 95 % intervals hold for all cells at once."
    return "By 95 % intervals of the figures themselves, which tell fewer cells apart than differences would."


def _titles(columns: Sequence[MetricColumn]) -> str:
    """By their short titles, where these differ: "CLIP score" for "CLIP score (ViT-L/14)"."""
    long = [column.metric.title for column in columns]
    short = [title.partition(" (")[0] for title in long]
    *most, last = short if len(set(short)) == len(short) else long
    return f"{', '.join(most)} and {last}" if most else last


def _num_images(columns: Sequence[MetricColumn]) -> str:
    counts = {
        figure.num_images
        for column in columns
        for cell in column.order
        if (figure := cell.figures.get(column.metric.name))
    }
    low, high = min(counts), max(counts)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
