"""The content as data, with what is ranked already ranked: JSON values for the page's scripts, and metrics.parquet."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import pyarrow as pa

from darkroom.evaluation.figures import Figure, Gap, Metric
from darkroom.reporting.columns import MetricColumn, cell_label, metric_columns
from darkroom.reporting.content import CellResult, Edit, Forming, Picture, ReportContent, Setting, Strip
from darkroom.reporting.decision import decision, key_columns
from darkroom.reporting.ranking import dominated, pareto_front

_SCORE_DIGITS = 4  # significant; a distribution shows no more
_MOST_EXACT = 2**53  # of a whole number in JavaScript


def payload(content: ReportContent, thumbnails: Mapping[str, str]) -> dict[str, object]:
    """`thumbnails`: image_id -> path relative to the page, for pictures that have one."""
    beaten = dominated(content.cells, content.metrics)
    columns = metric_columns(content)
    keys = key_columns(columns)
    decided = decision(content.cells, content.axes, keys)
    return {
        "decided": decided.cell_ids if decided else (),
        "axes": [{"name": axis.name, "values": [_exact(value) for value in axis.values]} for axis in content.axes],
        "metrics": [_metric(column, column in keys) for column in columns],
        "score_metric": content.score_metric,
        "cells": [_cell(cell, content) | {"dominated": cell.cell_id in beaten} for cell in content.cells],
        "fronts": _fronts(content),
        "scores": {name: [_rounded(score) for score in scores] for name, scores in content.scores.items()},
        "breakdown": {
            column: {value: {name: [_finite(score.mean), score.num_images] for name, score in by_cell.items()}
                     for value, by_cell in by_value.items()}
            for column, by_value in content.breakdown.items()
        },
        "pictures": [_picture(picture, thumbnails.get(picture.image_id)) for picture in content.pictures],
        "picks": asdict(content.picks),
        "forming": _forming(content.forming),
        "failures": [vars(failure) | {"record": dict(failure.record)} for failure in content.failures],
    }  # fmt: skip


def _metric(column: MetricColumn, is_key: bool) -> dict[str, object]:
    return {
        "name": column.metric.name,
        "title": column.metric.title,
        "higher_is_better": column.metric.higher_is_better,
        "decimals": column.decimals,
        "key": is_key,
        "best": sorted(column.leaders) if column.has_winner else [],
        "tied": sorted(column.best | column.rivals),
        "order": [cell.cell_id for cell in column.order],
    }


def _cell(cell: CellResult, content: ReportContent) -> dict[str, object]:
    return {
        "id": cell.cell_id,
        "label": cell_label(cell, content),
        "settings": {name: _exact(value) for name, value in cell.settings.items()},
        "num_images": cell.num_images,
        "figures": {name: _figure(figure) for name, figure in cell.figures.items() if math.isfinite(figure.value)},
    }


def _exact(value: Setting) -> Setting:
    """As text where it is a number that JavaScript would round, as a seed may be."""
    return str(value) if isinstance(value, int) and abs(value) > _MOST_EXACT else value


def _figure(figure: Figure) -> list[float | None]:
    return [figure.value, _finite(figure.low), _finite(figure.high), figure.num_images]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _rounded(score: float) -> float | None:
    return float(f"{score:.{_SCORE_DIGITS}g}") if math.isfinite(score) else None


def _fronts(content: ReportContent) -> dict[str, dict[str, tuple[str, ...]]]:
    """metric on x -> metric on y -> the cells of the Pareto front, along x."""
    return {
        first.name: {
            second.name: pareto_front(content.cells, first, second)
            for second in content.metrics
            if second.name != first.name
        }
        for first in content.metrics
    }


def _picture(picture: Picture, thumbnail: str | None) -> dict[str, object]:
    shown = {"score": _finite(picture.score), "record": dict(picture.record), "thumbnail": thumbnail}
    return vars(picture) | shown


# How pictures form ----------------------------------------------------------------------------------------------------

STRIPS = "trajectories"


def edit_name(edit: Edit) -> str:
    """Of its file, relative to the page."""
    return f"edits/{edit.image_id}.webp"


def strip_name(strip: Strip) -> str:
    return f"{STRIPS}/{strip.image_id}.webp"


def noised_name(place: int) -> str:
    return f"{STRIPS}/reference-{place}.webp"


def _forming(forming: Forming | None) -> dict[str, object] | None:
    if forming is None:
        return None
    noised = {each.steps: noised_name(place) for place, each in enumerate(forming.noised)}
    return {
        "strips": [
            {
                "cell_id": strip.cell_id,
                "prompt_id": strip.prompt_id,
                "prompt": strip.prompt,
                "steps": [asdict(step) for step in strip.steps],
                "picture": strip_name(strip),
                "href": strip.href,
                "height": strip.height,
                "width": strip.width,
                "noised": noised.get(strip.steps),
            }
            for strip in forming.strips
        ],
        "reference": forming.reference,
    }


# metrics.parquet ----------------------------------------------------------------------------------------------------


def metrics_table(content: ReportContent) -> pa.Table:
    """Columns: cell_id, every setting by its name, then the metric, its figure and how it was made.

    Setting columns are numbers where all cells have numbers, else strings; null where a cell lacks the setting.
    """
    columns = {column.metric.name: column for column in metric_columns(content)}
    pairs = [(cell, metric) for cell in content.cells for metric in content.metrics if metric.name in cell.figures]
    cells, metrics = [cell for cell, _ in pairs], [metric for _, metric in pairs]
    figures = [cell.figures[metric.name] for cell, metric in pairs]
    settings = dict.fromkeys(name for cell in content.cells for name in cell.settings)
    beaten = dominated(content.cells, content.metrics)
    return pa.table(
        {
            "cell_id": pa.array([cell.cell_id for cell in cells], pa.string()),
            **{name: _setting_column(name, cells) for name in settings},
            **_metric_columns(metrics),
            **_figure_columns(figures),
            "outdated": pa.array([metric.name in cell.outdated for cell, metric in pairs], pa.bool_()),
            "warnings": pa.array([list(figure.warnings) for figure in figures], pa.list_(pa.string())),
            **_gap_columns([columns[metric.name].gaps.get(cell.cell_id) for cell, metric in pairs]),
            "best": pa.array([cell.cell_id in columns[metric.name].best for cell, metric in pairs], pa.bool_()),
            "dominated": pa.array([cell.cell_id in beaten for cell in cells], pa.bool_()),
        }
    )


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
