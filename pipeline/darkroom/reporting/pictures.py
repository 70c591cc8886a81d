"""Images that were chosen for the page: their records read again, their thumbnails made. Knows no page."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from darkroom.domain.records import Record
from darkroom.reporting.commands import verify_command
from darkroom.reporting.content import FailedImage, Picture
from darkroom.reporting.sampling import Seen
from darkroom.reporting.thumbnails import thumbnails
from darkroom.runs import manifest
from darkroom.runs.ahead import read_ahead
from darkroom.runs.keys import ManifestName
from darkroom.runs.records import to_records
from darkroom.storage.store import Store

_LONGEST = 2000  # characters of one text of a record


@dataclass(frozen=True)
class Row:
    """One image's row of a manifest."""

    seen: Seen
    record: Record
    texts: Mapping[str, str]  # every column that says something, the prompt file's too


def read_rows(store: Store, images: Iterable[Seen]) -> dict[str, Row]:
    """image_id -> row, each manifest read once."""
    by_manifest: dict[ManifestName, dict[int, Seen]] = defaultdict(dict)
    for seen in images:
        by_manifest[seen.manifest][seen.index] = seen
    parts = read_ahead(by_manifest.items(), lambda item: _rows(store, *item))
    return {row.record.image_id: row for part in parts for row in part}


def pictures(
    store: Store, rows: Sequence[Row], in_sheet: Collection[str], trusted: Collection[str], run_href: str | None
) -> Iterator[Picture]:
    """`in_sheet`: image_ids; `trusted`: cell_ids of models whose own code runs; `run_href`: the run's folder as seen
    from the report, or None."""
    small = thumbnails(store, (row.record for row in rows))
    for row in rows:
        record, shown = row.record, small[row.record.image_id]
        yield Picture(
            image_id=record.image_id,
            cell_id=record.cell_id,
            prompt=cut(record.prompt),
            prompt_id=record.prompt_id,
            sample_index=record.sample_index,
            score=row.seen.score,
            record=row.texts,
            verify_command=verify_command(store.spec, record.image_id, record.cell_id in trusted),
            thumbnail=shown.webp,
            image_href=f"{run_href}/{record.key}" if run_href and record.member is None else None,
            in_sheet=record.image_id in in_sheet,
            fault=f"{store.describe(record.key or '')}: {shown.fault}" if shown.fault else "",
        )


def failed_image(row: Row) -> FailedImage:
    record = row.record
    return FailedImage(
        image_id=record.image_id,
        cell_id=record.cell_id,
        prompt=cut(record.prompt),
        prompt_id=record.prompt_id,
        sample_index=record.sample_index,
        status=record.status,
        reason=record.error or "",
        record=row.texts,
    )


def cut(text: str) -> str:
    """Text as long as a page can bear."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _rows(store: Store, name: ManifestName, images: Mapping[int, Seen]) -> list[Row]:
    table = manifest.read(store, name).take(list(images))
    columns = table.to_pylist()
    return [
        Row(seen, record, _texts(values))
        for seen, record, values in zip(images.values(), to_records(table), columns, strict=True)
    ]


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {name: cut(_text(value)) for name, value in values.items() if value not in (None, "")}


def _text(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    return f"{value:.10g}" if isinstance(value, float) else str(value)
