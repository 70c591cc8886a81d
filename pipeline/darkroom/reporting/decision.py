"""Which setting, and how sure: the few metrics that decide between cells, and what they say together, in words."""

from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.evaluation.catalogue import CATALOGUE
from darkroom.evaluation.figures import Metric
from darkroom.evaluation.tables import setting_text
from darkroom.reporting.columns import MetricColumn
from darkroom.reporting.content import Axis, CellResult

_MOST_KEY = 4  # metrics that decide
_MOST_NAMED = 3  # cells in a sentence
_REFERENCE, _PROMPTS, _PICTURES, _VARIETY = "reference", "prompts", "pictures", "variety"
_QUESTIONS = {
    _REFERENCE: "closeness to the reference",
    _PROMPTS: "agreement with the prompts",
    _PICTURES: "a score of single images",
    _VARIETY: "variety",
}


@dataclass(frozen=True)
class Decision:
    """What the key metrics say of several cells."""

    text: str  # which setting, in a sentence
    doubt: str  # how sure that is; empty where the text says so
    cell_ids: tuple[str, ...]  # best, or not told apart from the best, by each of them; empty where none is


def key_columns(columns: Sequence[MetricColumn]) -> list[MetricColumn]:
    """The first metric that ranks cells, of each question that was measured; in the order of questions."""
    found: dict[str, MetricColumn] = {}
    for column in columns:
        question = _question(column.metric)
        if question and column.order:
            found.setdefault(question, column)
    return [found[question] for question in _QUESTIONS if question in found][:_MOST_KEY]


def why_these(keys: Sequence[MetricColumn], columns: Sequence[MetricColumn]) -> str:
    """How the key metrics were chosen, where there are more."""
    if not keys or len(keys) == len(columns):
        return ""
    said = ", ".join(f"{column.metric.title} for {_QUESTIONS[_question(column.metric)]}" for column in keys)
    left = len(columns) - len(keys)
    return f"Of each question the first metric that ranks cells: {said}. The table has {left} more."


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
    shared = [cell for cell in cells if all(cell.cell_id in group for group in leading)]
    text = _agreed(shared, axes, deciding) if shared else _split(axes, deciding)
    return Decision(text, _doubt(deciding), tuple(cell.cell_id for cell in shared))


def settings_words(cell: CellResult, axes: Sequence[Axis]) -> str:
    """Such as "guidance_scale 5, scheduler euler"."""
    return ", ".join(f"{axis.name} {setting_text(cell.settings[axis.name])}" for axis in axes)


def _question(metric: Metric) -> str:
    """Which one the metric answers; empty for those that no choice should hang on, such as precision."""
    definition = CATALOGUE.get(metric.name.rpartition(".")[2])
    if definition is None:
        return ""
    if definition.needs_captions:
        return _PROMPTS
    if definition.of_scores:
        return _PICTURES
    if definition.needs_reference:
        return "" if definition.higher_is_better else _REFERENCE
    return _VARIETY


def _agreed(shared: Sequence[CellResult], axes: Sequence[Axis], deciding: Sequence[MetricColumn]) -> str:
    said = f"best, or not told apart from the best, by {_titles(deciding)}"
    if len(shared) == 1:
        return f"{settings_words(shared[0], axes)}: {said}."
    named = "; ".join(settings_words(cell, axes) for cell in shared[:_MOST_NAMED])
    more = f"; and {len(shared) - _MOST_NAMED} more" if len(shared) > _MOST_NAMED else ""
    return f"{len(shared)} of {len(deciding[0].cells)} cells share the best by {_titles(deciding)}: {named}{more}." + (
        _cheapest(shared, axes)
    )


def _cheapest(shared: Sequence[CellResult], axes: Sequence[Axis]) -> str:
    """Of equals, those with the fewest steps: what is cheaper and not worse."""
    steps = "num_inference_steps"
    if not any(axis.name == steps for axis in axes):
        return ""
    fewest = min(cell.settings[steps] for cell in shared)
    cheap = [cell for cell in shared if cell.settings[steps] == fewest]
    if len(cheap) == len(shared):
        return ""
    named = f": {settings_words(cheap[0], axes)}" if len(cheap) == 1 else f", which {len(cheap)} of them have"
    return f" The fewest steps of these are {setting_text(fewest)}{named}."


def _split(axes: Sequence[Axis], deciding: Sequence[MetricColumn]) -> str:
    best = "; ".join(f"{column.metric.title}: {settings_words(column.order[0], axes)}" for column in deciding)
    return f"No setting is best by all of {_titles(deciding)}. Best {best}. The trade-off is yours to make."


def _doubt(deciding: Sequence[MetricColumn]) -> str:
    bare = [column for column in deciding if column.is_bare]
    if bare:
        return f"{_titles(bare)} stand without intervals, so that chance may have chosen the best."
    if all(column.gaps for column in deciding):
        return "By differences image by image, whose 95 % intervals hold for all cells at once."
    return "By 95 % intervals of the figures themselves, which tell fewer cells apart than differences would."


def _titles(columns: Sequence[MetricColumn]) -> str:
    *most, last = (column.metric.title for column in columns)
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
