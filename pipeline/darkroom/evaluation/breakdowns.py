"""Figures by a column of the prompts, such as PartiPrompts' categories: of the images of each of its values.

Of metrics that are means of single images' scores, since a part of a cell's images is a smaller sample of those and
nothing else. A column of more values than a table can show, such as one of ids, has none.
"""

from collections.abc import Collection, Mapping, Sequence

from darkroom.domain.errors import DarkroomError
from darkroom.evaluation.catalogue import definition
from darkroom.evaluation.figure_tables import Settings, cell_names
from darkroom.evaluation.figures import ByValue, Figure, Figures, Metric
from darkroom.evaluation.gathering import Gathered
from darkroom.evaluation.measuring import measured_cell
from darkroom.evaluation.tables import Table, arrow, decimals, interval, number, shortened, text_tables
from darkroom.runs.features import ExtractorInfo

MOST_VALUES = 64
NO_VALUE = "(none)"  # of prompts that say nothing in the column


def group_text(value: object) -> str:
    """By which prompts of one group are told, of their value in the column."""
    return NO_VALUE if value in (None, "") else str(value)


def group_names(texts: Collection[str], column: str) -> dict[str, str]:
    """Text of a group -> its name. Raises DarkroomError where there are more than MOST_VALUES."""
    if len(texts) > MOST_VALUES:
        raise DarkroomError(
            f"by={column}: it has more than {MOST_VALUES} values, the most that figures are by; name a column of fewer"
        )
    return shortened(sorted(texts))


def broken_down(
    cell: Gathered,
    names: Mapping[str, str],
    extractor: ExtractorInfo,
    metrics: Sequence[str],
    clip_convention: str,
    seed: int,
) -> dict[str, Figures]:
    """Group's name -> figures of the images held of its prompts; `names`: prompt_id -> the name of its group."""
    means = [name for name in metrics if definition(name, extractor).of_images]
    rows: dict[str, list[int]] = {}
    for row, (prompt_id, _) in enumerate(cell.held.pairs if means else ()):
        rows.setdefault(names.get(prompt_id, NO_VALUE), []).append(row)
    parts = {name: Gathered(cell.held.taken(rows[name])) for name in sorted(rows)}
    options = (extractor, None, means, clip_convention, seed)
    return {name: measured_cell(part, *options).figures for name, part in parts.items()}


def breakdown_table(column: str, found: ByValue, metrics: Mapping[str, Metric], settings: Settings, width: int) -> str:
    """A line a value and cell: each figure with its interval and the number of its images. `width`: in characters."""
    cell_ids = list(dict.fromkeys(cell_id for cells in found.values() for cell_id in cells))
    headings, *names = cell_names(cell_ids, settings)
    name_of = dict(zip(cell_ids, names, strict=True)) if len(cell_ids) > 1 else {}
    lines = [(value, cell_id, figures) for value, cells in found.items() for cell_id, figures in cells.items()]
    shown = [name for name in metrics if any(name in figures for _, _, figures in lines)]
    left = [[value, *name_of.get(cell_id, ())] for value, cell_id, _ in lines]
    columns = [_entries([figures.get(name) for _, _, figures in lines]) for name in shown]
    rows = [[*line, *(entries[place] for entries in columns)] for place, line in enumerate(left)]
    heads = [f"{name} {arrow(metrics[name].higher_is_better)}" for name in shown]
    table = Table([column, *(headings if name_of else ()), *heads], rows, num_left=len(left[0]) if left else 1)
    return "\n\n".join([f"by {column}, with intervals and the number of images:", *text_tables(table, width)])


def _entries(figures: Sequence[Figure | None]) -> list[str]:
    places = decimals(figure.value for figure in figures if figure)
    return [
        " ".join([number(figure.value, places), interval(figure.low, figure.high, places), f"({figure.num_images:,})"])
        if figure
        else "-"
        for figure in figures
    ]
