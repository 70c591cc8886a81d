"""Images as a dataset has them: the run's own files, or their pixels made smaller and encoded anew."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from darkroom.domain.errors import DarkroomError
from darkroom.domain.records import Record
from darkroom.runs.cells import CellInfo, cell_of
from darkroom.runs.commands import on_run
from darkroom.runs.encoding import LOSSLESS, pixels_digest, resized, sha256_of
from darkroom.runs.images import StoredFile, stored_files, stored_sidecars
from darkroom.runs.layouts import encode_image
from darkroom.runs.reading import model_as_recorded, recorded_request
from darkroom.runs.run import OutputInfo
from darkroom.storage.store import Store, prefetched

# Columns that an image encoded anew has of its own; the last two are of the run's own file, and null for another one.
FACTS = ("height", "width", "sha256", "bytes", "pixels_sha256", "stored_pixels_sha256", "watermark")
_THREADS = 4  # that encode


@dataclass(frozen=True)
class Encoding:
    """How images are encoded anew."""

    image_format: str
    quality: int  # of webp and jpeg; 0 of png
    size: int | None  # pixels of the longer side, at most

    def applies_to(self, output: OutputInfo) -> bool:
        """Whether a run's files are not so already, as far as is known without opening them."""
        is_alike = self.image_format in LOSSLESS or self.quality == output.quality
        return self.size is not None or self.image_format != output.image_format or not is_alike


@dataclass(frozen=True, eq=False)
class Source:
    """A run whose images are exported."""

    store: Store
    cells: Mapping[str, CellInfo]  # by cell_id
    output: OutputInfo  # of the run
    encoding: Encoding | None  # None: files stay as they are

    @property
    def has_sidecars(self) -> bool:
        """Whether signed manifests are handed over: what is encoded anew would need other ones."""
        return self.output.c2pa and self.encoding is None


@dataclass(frozen=True, slots=True)
class ExportedImage:
    """One image's file, and those of FACTS that are others than its record says."""

    record: Record
    data: bytes
    facts: Mapping[str, Any] = field(default_factory=dict)
    sidecar: bytes | None = None  # its signed manifest, which holds for the run's own file alone


def exported_images(source: Source, records: Sequence[Record], there: Mapping[str, bytes]) -> list[ExportedImage]:
    """In order of records. `there`: files by image_id, each of which is taken where it is what the record says.

    Raises DarkroomError for an image that is not what was committed.
    """
    if encoding := source.encoding:
        files = _whole(source.store, records)
        return list(prefetched(files, lambda file: _recoded(source, encoding, file), _THREADS))
    kept = {each.image_id: there.get(each.image_id, b"") for each in records}
    kept = {each.image_id: data for each in records if sha256_of(data := kept[each.image_id]) == each.sha256}
    read = _whole(source.store, [each for each in records if each.image_id not in kept])
    kept |= {file.record.image_id: file.data for file in read}
    sidecars = _sidecars(source, records)
    return [ExportedImage(each, kept[each.image_id], {}, sidecars.get(each.image_id)) for each in records]


def _sidecars(source: Source, records: Sequence[Record]) -> dict[str, bytes]:
    """By image_id. Raises DarkroomError for one that is not what was stored."""
    if not source.has_sidecars:
        return {}
    found = stored_sidecars(source.store, records)
    for each in found:
        if each.fault:
            place = source.store.describe(each.record.c2pa_key or "")
            raise DarkroomError(
                f"image {each.record.image_id} ({place}): {each.fault}; put it back from a copy, and give the same "
                f"command again; `{on_run('verify', source.store.spec, stored=True)}` tells of all"
            )
    return {each.record.image_id: each.data for each in found}


def _whole(source: Store, records: Sequence[Record]) -> list[StoredFile]:
    files = stored_files(source, records)
    for file in files:
        if file.fault:
            place = source.describe(file.record.key or "")
            raise DarkroomError(
                f"image {file.record.image_id} ({place}): {file.fault}; bring it back with "
                f"`{on_run('repair', source.spec)}`, and give the same command again"
            )
    return files


def _recoded(source: Source, encoding: Encoding, file: StoredFile) -> ExportedImage:
    """With what the run's own files say in them of how they were made."""
    record, cell = file.record, cell_of(source.cells, file.record.cell_id)
    pixels = resized(file.pixels(), encoding.size)
    output = OutputInfo("files", encoding.image_format, encoding.quality, source.output.provenance)
    request, model = recorded_request(record, cell), model_as_recorded(cell.model, record)
    data = encode_image(request, pixels, model, output, record.scheduler_config).data
    values = (*pixels.shape[:2], sha256_of(data), len(data), pixels_digest(pixels), None, None)
    return ExportedImage(record, data, dict(zip(FACTS, values, strict=True)))
