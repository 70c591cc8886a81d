"""What the page's script works on: the content as JSON values, with what is ranked already ranked. Knows no HTML."""

import math
from collections.abc import Mapping
from dataclasses import asdict

from darkroom.metrics.figures import Figure, Metric
from darkroom.metrics.tables import setting_text
from darkroom.reporting.content import CellResult, Picture, ReportContent
from darkroom.reporting.numbers import metric_decimals
from darkroom.reporting.ranking import best_cells, dominated, order_by, pareto_front

_SCORE_DIGITS = 4  # significant; a distribution shows no more


def payload(content: ReportContent, thumbnails: Mapping[str, str]) -> dict[str, object]:
    """`thumbnails`: image_id -> path relative to the page, for pictures that have one."""
    beaten = dominated(content.cells, content.metrics)
    return {
        "axes": [asdict(axis) for axis in content.axes],
        "metrics": [_metric(metric, content) for metric in content.metrics],
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
        "failures": [vars(failure) | {"record": dict(failure.record)} for failure in content.failures],
    }  # fmt: skip


def cell_label(cell: CellResult, content: ReportContent) -> str:
    """The cell's values on the axes, such as "5 · euler · 30"; of a plain run, its id."""
    return " · ".join(setting_text(cell.settings[axis.name]) for axis in content.axes) or cell.cell_id


def _metric(metric: Metric, content: ReportContent) -> dict[str, object]:
    return {
        "name": metric.name,
        "title": metric.title,
        "higher_is_better": metric.higher_is_better,
        "decimals": metric_decimals(metric, content.cells),
        "best": sorted(best_cells(content.cells, metric)),
        "order": [cell.cell_id for cell in order_by(content.cells, metric)],
    }


def _cell(cell: CellResult, content: ReportContent) -> dict[str, object]:
    return {
        "id": cell.cell_id,
        "label": cell_label(cell, content),
        "settings": dict(cell.settings),
        "num_images": cell.num_images,
        "figures": {name: _figure(figure) for name, figure in cell.figures.items() if math.isfinite(figure.value)},
    }


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
