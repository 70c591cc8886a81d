"""Texts that are drawn on images, looked at before anything is rendered: their columns, fonts, boxes and colours."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from darkroom.api.output_options import OverlayOptions
from darkroom.domain.errors import DarkroomError
from darkroom.prompts.dataset import RECORD, PromptDataset
from darkroom.runs.overlays import PROMPT, OverlayFault, OverlaySettings, font_sha256, overlay_of, rows_read

_MOST_FONTS = 1000  # that one run has: their digests are in its description


def checked_overlay(options: OverlayOptions, dataset: PromptDataset) -> str:
    """As a run keeps it, with the fonts' digests; empty where nothing is drawn.

    Raises DarkroomError for a column that is not there, and for the first row whose text cannot be drawn, where the
    dataset does not record such rows: those fail alone, as they are rendered.
    """
    if options.settings is None:
        return ""
    settings = _with_known_columns(options.settings, dataset)
    fonts = {path: font_sha256(path) for path in [settings.default_font] if path}
    for number, row in _rows(dataset, settings):
        path = row.get(settings.font) if settings.font else None
        if path and str(path) not in fonts and Path(str(path)).expanduser().is_file():
            fonts[str(path)] = font_sha256(str(path))
            if len(fonts) > _MOST_FONTS:
                raise DarkroomError(f"column {settings.font!r}: more than {_MOST_FONTS} fonts; render fewer in one run")
        settings = replace(settings, fonts=fonts)
        try:
            overlay_of(row, settings)
        except OverlayFault as fault:
            if dataset.on_invalid != RECORD:
                raise DarkroomError(
                    f"prompts, row {number}: {fault}; or set prompts.on_invalid=record, by which such rows fail alone"
                ) from None
    return replace(settings, fonts=dict(sorted(fonts.items()))).to_text()


def _with_known_columns(settings: OverlaySettings, dataset: PromptDataset) -> OverlaySettings:
    """With columns as the dataset calls them: one that is named as a column of records is carried as `source_...`."""
    extras = next(dataset.blocks(0)).extras.column_names
    named: dict[str, Any] = {}
    for role in ("text", "font", "box", "colour"):
        name = getattr(settings, role)
        found = next((each for each in (name, f"source_{name}") if each in extras or each == PROMPT), None)
        if name and found is None:
            raise DarkroomError(
                f"output.overlay.{role}={name}: no such column; the prompts carry {', '.join([*extras, PROMPT])}; give "
                "one of them, or add it"
            )
        named[role] = found if name else None
    return replace(settings, **named)


def _rows(dataset: PromptDataset, settings: OverlaySettings) -> Iterator[tuple[int, Mapping[str, object]]]:
    for block in dataset.blocks(0):
        rows = rows_read(settings, block.rows, block.extras)
        yield from zip((row.row for row in block.rows), rows, strict=True)
