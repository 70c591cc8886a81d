"""metrics.parquet: one row a cell and metric, for whoever wants to plot it otherwise. Knows no page."""

from collections.abc import Sequence

import pyarrow as pa

from darkroom.metrics.figures import Figure, Gap, Metric
from darkroom.reporting.content import CellResult, ReportContent
from darkroom.reporting.ranking import best_cells, dominated, gap_of


def metrics_table(content: ReportContent) -> pa.Table:
    """Columns: cell_id, every setting by its name, then the metric, its figure and how it was made.

    Setting columns are numbers where all cells have numbers, else strings; null where a cell lacks the setting.
    """
    best = {metric.name: best_cells(content.cells, metric) for metric in content.metrics}
    beaten = dominated(content.cells, content.metrics)
    pairs = [(cell, metric) for cell in content.cells for metric in content.metrics if metric.name in cell.figures]
    settings = dict.fromkeys(name for cell in content.cells for name in cell.settings)
    columns: dict[str, pa.Array] = {"cell_id": pa.array([cell.cell_id for cell, _ in pairs], pa.string())}
    columns |= {name: _setting_column(name, [cell for cell, _ in pairs]) for name in settings}
    columns |= _metric_columns([metric for _, metric in pairs])
    columns |= _figure_columns([cell.figures[metric.name] for cell, metric in pairs])
    columns["outdated"] = pa.array([metric.name in cell.outdated for cell, metric in pairs], pa.bool_())
    columns["warnings"] = pa.array(
        [list(cell.figures[metric.name].warnings) for cell, metric in pairs], pa.list_(pa.string())
    )
    columns |= _gap_columns([gap_of(cell, metric, best[metric.name]) for cell, metric in pairs])
    columns["best"] = pa.array([cell.cell_id in best[metric.name] for cell, metric in pairs], pa.bool_())
    columns["dominated"] = pa.array([cell.cell_id in beaten for cell, _ in pairs], pa.bool_())
    return pa.table(columns)


def _setting_column(name: str, cells: Sequence[CellResult]) -> pa.Array:
    values = [cell.settings.get(name) for cell in cells]
    known = [value for value in values if value is not None]
    if all(isinstance(value, int) for value in known):
        return pa.array(values, pa.int64())
    if all(isinstance(value, int | float) for value in known):
        return pa.array(values, pa.float64())
    return pa.array([None if value is None else str(value) for value in values], pa.string())


def _metric_columns(metrics: Sequence[Metric]) -> dict[str, pa.Array]:
    columns = {"metric": pa.array([metric.name for metric in metrics], pa.string())}
    for field in ("title", "convention", "interval", "extractor", "weights", "resize", "reference"):
        name = "weights_digest" if field == "weights" else field
        columns[name] = pa.array([getattr(metric, field) for metric in metrics], pa.string())
    columns["higher_is_better"] = pa.array([metric.higher_is_better for metric in metrics], pa.bool_())
    return columns


def _figure_columns(figures: Sequence[Figure]) -> dict[str, pa.Array]:
    return {
        "value": pa.array([figure.value for figure in figures], pa.float64()),
        "low": pa.array([figure.low for figure in figures], pa.float64()),
        "high": pa.array([figure.high for figure in figures], pa.float64()),
        "num_images": pa.array([figure.num_images for figure in figures], pa.int64()),
        "num_reference": pa.array([figure.num_reference for figure in figures], pa.int64()),
    }


def _gap_columns(gaps: Sequence[Gap | None]) -> dict[str, pa.Array]:
    """Differences from each metric's best cell; null for its own, and where none was measured."""
    return {
        "compared_with": pa.array([gap.base if gap else None for gap in gaps], pa.string()),
        "difference": pa.array([gap.difference if gap else None for gap in gaps], pa.float64()),
        "difference_low": pa.array([gap.low if gap else None for gap in gaps], pa.float64()),
        "difference_high": pa.array([gap.high if gap else None for gap in gaps], pa.float64()),
        "num_pairs": pa.array([gap.num_pairs if gap else None for gap in gaps], pa.int64()),
    }
