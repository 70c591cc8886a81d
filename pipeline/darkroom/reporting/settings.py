"""Cells' settings by short names, and the axes in which they differ. Knows neither figures nor pages."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from darkroom.domain.settings import COMMON_AXES, ModelRef, Sampling, settings_of
from darkroom.reporting.content import Axis, Setting
from darkroom.runs.cells import CellInfo
from darkroom.runs.run import RunInfo

MODEL = "model"
_OF_MODEL = tuple(each.name for each in settings_of(ModelRef) if each.name != "repo_id")
_OF_SAMPLING = tuple(each.name for each in settings_of(Sampling) if each.name not in COMMON_AXES)
_ORDER = (*COMMON_AXES, MODEL, *_OF_SAMPLING, *_OF_MODEL)  # in which a reader looks at settings
_EMPTY = "(none)"  # of several values
_LONGEST = 48  # characters of a text on an axis


def settings_of_cells(cells: Mapping[str, CellInfo], run: RunInfo) -> dict[str, dict[str, Setting]]:
    """cell_id -> its settings. Long texts, which would fill plots, are cut such that different ones stay different."""
    plain = {cell_id: _plain(info.settings_in(run)) for cell_id, info in cells.items()}
    labels = {name: _labels([settings[name] for settings in plain.values()]) for name in _ORDER}
    return {cell_id: {name: labels[name].get(settings[name], settings[name]) for name in _ORDER}
            for cell_id, settings in plain.items()}  # fmt: skip


def axes_of(settings: Mapping[str, Mapping[str, Setting]]) -> tuple[Axis, ...]:
    """The settings in which cells differ, values in order. What a model's name already decides is no axis."""
    cells = list(settings.values())
    varied = [name for name in _ORDER if len({cell[name] for cell in cells}) > 1]
    kept = [name for name in varied if name not in _OF_MODEL or not _is_decided(name, cells)]
    return tuple(Axis(name, _in_order([cell[name] for cell in cells])) for name in kept)


def common_settings(settings: Mapping[str, Mapping[str, Setting]]) -> dict[str, Setting]:
    """Those that all cells share."""
    first, *others = settings.values()
    return {name: value for name, value in first.items() if all(cell[name] == value for cell in others)}


def _plain(settings: Mapping[str, object]) -> dict[str, Setting]:
    short = {name.split(".")[1]: value for name, value in settings.items()}
    short[MODEL] = short.pop("repo_id")
    return {name: _setting(value) for name, value in short.items()}


def _setting(value: object) -> Setting:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value if isinstance(value, int | float) else "" if value is None else str(value)


def _labels(values: Sequence[Setting]) -> dict[Setting, str]:
    """Short names of texts, where any is long; a model in a folder is called by the folder's name."""
    texts = list(dict.fromkeys(value for value in values if isinstance(value, str)))
    names = [PurePosixPath(text).name if text.startswith("/") else text for text in texts]
    names = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    names = [name or _EMPTY for name in names] if len(names) > 1 else names
    told_apart = [
        name if names.count(name) == 1 else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]
    return dict(zip(texts, told_apart, strict=True))


def _is_decided(name: str, cells: Sequence[Mapping[str, Setting]]) -> bool:
    return len({(cell[MODEL], cell[name]) for cell in cells}) == len({cell[MODEL] for cell in cells})


def _in_order(values: Sequence[Setting]) -> tuple[Setting, ...]:
    return tuple(sorted(set(values), key=lambda value: (isinstance(value, str), value)))
