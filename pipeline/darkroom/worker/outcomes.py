"""From a sample and what became of it to its record. Pure; knows neither devices nor stores."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from darkroom import __version__
from darkroom.domain.cells import Cell, ModelIdentity
from darkroom.domain.errors import redacted
from darkroom.domain.records import FAILED, INVALID, OK, Record
from darkroom.domain.requests import ImageRequest, PromptRow, Sample
from darkroom.domain.settings import ROW_SETTINGS
from darkroom.encoding.containers import Member
from darkroom.rendering.renderer import RendererInfo
from darkroom.worker.layouts import Placed

_MAX_ERROR_CHARS = 500


@dataclass(frozen=True, slots=True)
class Outcome:
    """One sample after rendering, encoding and placing: a place or a member to place, or an error."""

    sample: Sample
    truncated: bool = False
    error: str | None = None
    member: Member | None = None
    placed: Placed | None = None
    render_s: float | None = None
    encode_s: float | None = None
    batch_size: int | None = None  # that it was rendered in; None: the renderer's own
    pixels_sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Maker:
    """Who made a record: what all records of one attempt share."""

    model: ModelIdentity
    info: RendererInfo
    cell_id: str
    shard_id: str
    attempt: int
    worker: str


def place_members(outcomes: Sequence[Outcome], places: Mapping[str, Placed]) -> list[Outcome]:
    """Outcomes with their place in their container."""
    return [replace(outcome, member=None, placed=places.get(outcome.sample.request.image_id)) for outcome in outcomes]


def record(outcome: Outcome, maker: Maker) -> Record:
    row, request, placed = outcome.sample.row, outcome.sample.request, outcome.placed
    return Record(
        image_id=request.image_id,
        prompt_id=row.prompt_id,
        prompt=request.prompt,
        sample_index=outcome.sample.sample_index,
        seed=request.seed,
        row=row.row,
        sampling=request.sampling,
        model=maker.model.repo_id,
        model_revision=maker.model.revision,
        pipeline_class=maker.model.pipeline_class,
        cell_id=maker.cell_id,
        shard_id=maker.shard_id,
        key=placed.key if placed else None,
        member=placed.member if placed else None,
        offset=placed.offset if placed else None,
        sha256=placed.sha256 if placed else None,
        bytes=placed.size_bytes if placed else None,
        status=_status(outcome),
        error=redacted(outcome.error)[:_MAX_ERROR_CHARS] if outcome.error else None,
        truncated=outcome.truncated,
        darkroom_version=__version__,
        torch_version=maker.info.versions.get("torch"),
        diffusers_version=maker.info.versions.get("diffusers"),
        device=maker.info.device,
        batch_size=outcome.batch_size or maker.info.batch_size,
        compiled=maker.info.compiled,
        dtype=maker.info.dtype,
        render_s=outcome.render_s,
        encode_s=outcome.encode_s,
        attempt=maker.attempt,
        created_at=datetime.now(UTC),
        pixels_sha256=outcome.pixels_sha256,
        host=socket.gethostname(),
        device_id=maker.info.device_id,
        worker=maker.worker,
    )


def _status(outcome: Outcome) -> str:
    if outcome.placed:
        return OK
    return INVALID if outcome.sample.row.error else FAILED


def recorded_request(record: Record, cell: Cell) -> ImageRequest:
    """The request that a record of this cell answers: enough to render its image again.

    What no row overrides is the cell's own: a run may be older than the column of a setting.
    """
    given = {each.name: getattr(record.sampling, each.name) for each in ROW_SETTINGS if each.of_image}
    sampling = replace(cell.image_sampling, **given)
    return ImageRequest(record.image_id, record.prompt, record.seed, sampling)


def called_as_then(model: ModelIdentity, record: Record) -> ModelIdentity:
    """The cell's model by the name that this record's file has for it: another attempt may have called it otherwise."""
    return replace(model, repo_id=record.model)


def recorded_sample(record: Record, cell: Cell) -> Sample:
    row = PromptRow(row=record.row, prompt_id=record.prompt_id, prompt=record.prompt)
    return Sample(row, record.sample_index, recorded_request(record, cell))
